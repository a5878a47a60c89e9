//! The other end of ipip, for a backend without a tunnel device: takes the outer
//! header off, and leaves the packet to the host as the client sent it.
//!
//! Only packets to addresses that it was told are opened; everything else goes
//! by untouched. Congestion that the tunnel has met is told on to the packet (RFC 6040).
#![no_std]
#![no_main]

// On the host the crate is only checked, never run; there std brings the panic
// handler.
#[cfg(not(target_arch = "bpf"))]
extern crate std;

use aya_ebpf::{
    bindings::xdp_action,
    btf_maps::{HashMap, PerCpuArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        counter::Verdict,
    },
    tunnel, wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::xdp::Xdp,
    ip::{self, Datagram, Fragment, Ip, IpHeader as _},
};

/// The kernel grants its GPL-only helpers to programs that name this licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The addresses whose packets are opened; the value says nothing.
#[btf_map]
static VIPS_V4: HashMap<Addr4, u32, 1024> = HashMap::new();
#[btf_map]
static VIPS_V6: HashMap<Addr6, u32, 1024> = HashMap::new();

/// Packets opened.
#[btf_map]
static OPENED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Packets dropped, for they have met congestion and their sender would understand
/// nothing else.
#[btf_map]
static CONGESTED: PerCpuArray<u64, 1> = PerCpuArray::new();

#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn decap(context: XdpContext) -> u32 {
    // SAFETY: this is the context that the kernel passed.
    let hook = unsafe { Xdp::new(context.ctx) };
    match open(hook) {
        Ok(Opened::Told) => {
            count(&OPENED);
            xdp_action::XDP_PASS
        }
        Ok(Opened::Dropped) => {
            count(&CONGESTED);
            xdp_action::XDP_DROP
        }
        Err(Verdict::DropInternal) => xdp_action::XDP_DROP,
        Err(_) => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn count(counter: &PerCpuArray<u64, 1>) {
    if let Some(count) = counter.get_ptr_mut(0) {
        // SAFETY: this CPU's own counter.
        unsafe { *count += 1 };
    }
}

/// What became of a packet for us.
enum Opened {
    /// It is open, and has been told what the tunnel has met.
    Told,
    /// It could not be told, and is dropped.
    Dropped,
}

#[inline(always)]
fn open(hook: Xdp) -> Result<Opened, Verdict> {
    let (l3, kind) = ip::link(&Cursor::new(hook))?;
    match kind {
        wire::ETHERTYPE_IPV4 => strip::<Addr4>(hook, l3),
        wire::ETHERTYPE_IPV6 => strip::<Addr6>(hook, l3),
        _ => Err(Verdict::NotOurs),
    }
}

#[inline(always)]
fn strip<A: Ip>(hook: Xdp, l3: u8) -> Result<Opened, Verdict> {
    let mut cursor = Cursor::new(hook);
    let mut outer = Datagram::default();
    let ip: &A::Header = cursor.read(l3 as usize)?;
    ip.walk(&cursor, l3, &mut outer)?;
    if outer.fragment != Fragment::Whole {
        return Err(Verdict::NotOurs);
    }
    let class = ip.class();
    let l3 = l3 as usize;
    let l4 = outer.l4 as usize;
    let (known, inner) = match outer.protocol {
        wire::IPIP => {
            let to = Addr4(cursor.read::<wire::Ipv4>(l4)?.destination());
            // SAFETY: nothing is read of the value.
            (unsafe { VIPS_V4.get(to) }.is_some(), wire::ETHERTYPE_IPV4)
        }
        wire::IPV6_IN => {
            let to = Addr6(cursor.read::<wire::Ipv6>(l4)?.destination());
            // SAFETY: as above.
            (unsafe { VIPS_V6.get(to) }.is_some(), wire::ETHERTYPE_IPV6)
        }
        _ => (false, 0),
    };
    if !known || l4 <= l3 {
        return Err(Verdict::NotOurs);
    }
    let told = if inner == wire::ETHERTYPE_IPV4 {
        tell::<Addr4>(&mut cursor, l4, class)?
    } else {
        tell::<Addr6>(&mut cursor, l4, class)?
    };
    if !told {
        return Ok(Opened::Dropped);
    }
    // The link header moves to just before the inner one; a tag goes with the
    // outer header.
    let link: &wire::Ethernet = cursor.read(0)?;
    let macs = [link.macs_0(), link.macs_1(), link.macs_2()];
    let shrink = l4 as i32 - wire::ETHERNET_LEN as i32;
    let mut frame = hook.grow_front(-shrink)?;
    let link = frame.header::<wire::Ethernet>(0)?;
    link.set_mac_words(macs);
    link.set_kind(inner);
    Ok(Opened::Told)
}

/// Tells the packet at `l3` of the congestion that `outer`, the class of the outer header,
/// says it has met. False if it cannot be told.
#[inline(always)]
fn tell<A: Ip>(cursor: &mut Cursor<Xdp>, l3: usize, outer: u8) -> Result<bool, Verdict> {
    let header = cursor.header::<A::Header>(l3)?;
    let class = header.class();
    match tunnel::class_behind(class, outer) {
        Some(told) if told != class => header.set_class(told),
        Some(_) => {}
        None => return Ok(false),
    }
    Ok(true)
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
