//! The other end of ipip, for a backend without a tunnel device: takes the outer
//! header off, and leaves the packet to the host as the client sent it.
//!
//! Only packets to addresses that it was told are opened; everything else goes
//! by untouched.
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
    wire,
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

#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn decap(context: XdpContext) -> u32 {
    // SAFETY: this is the context that the kernel passed.
    let hook = unsafe { Xdp::new(context.ctx) };
    match open(hook) {
        Ok(()) => {
            if let Some(count) = OPENED.get_ptr_mut(0) {
                // SAFETY: this CPU's own counter.
                unsafe { *count += 1 };
            }
            xdp_action::XDP_PASS
        }
        Err(Verdict::DropInternal) => xdp_action::XDP_DROP,
        Err(_) => xdp_action::XDP_PASS,
    }
}

#[inline(always)]
fn open(hook: Xdp) -> Result<(), Verdict> {
    let (l3, kind) = ip::link(&Cursor::new(hook))?;
    match kind {
        wire::ETHERTYPE_IPV4 => strip::<Addr4>(hook, l3),
        wire::ETHERTYPE_IPV6 => strip::<Addr6>(hook, l3),
        _ => Err(Verdict::NotOurs),
    }
}

#[inline(always)]
fn strip<A: Ip>(hook: Xdp, l3: u8) -> Result<(), Verdict> {
    let cursor = Cursor::new(hook);
    let mut outer = Datagram::default();
    let ip: &A::Header = cursor.read(l3 as usize)?;
    ip.walk(&cursor, l3, &mut outer)?;
    if outer.fragment != Fragment::Whole {
        return Err(Verdict::NotOurs);
    }
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
    // The link header moves to just before the inner one; a tag goes with the
    // outer header.
    let link: &wire::Ethernet = cursor.read(0)?;
    let macs = [link.macs_0(), link.macs_1(), link.macs_2()];
    let shrink = l4 as i32 - wire::ETHERNET_LEN as i32;
    let mut frame = hook.grow_front(-shrink)?;
    let link = frame.header::<wire::Ethernet>(0)?;
    link.set_mac_words(macs);
    link.set_kind(inner);
    Ok(())
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
