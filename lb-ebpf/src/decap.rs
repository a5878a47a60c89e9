//! The other end of ipip, for a backend without a tunnel device: takes the outer
//! header off, and leaves the packet to the host as the client sent it.
//!
//! Only packets to addresses that it was told are opened; everything else goes
//! by untouched.

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

use crate::{
    cursor::Cursor,
    family::{Family, IpHeader},
    parse::{self, Datagram, Fragment},
};

/// The addresses whose packets are opened; the value says nothing.
#[btf_map]
static DECAP_VIPS_V4: HashMap<Addr4, u32, 1024> = HashMap::new();
#[btf_map]
static DECAP_VIPS_V6: HashMap<Addr6, u32, 1024> = HashMap::new();

/// Packets opened.
#[btf_map]
static DECAP_COUNT: PerCpuArray<u64, 1> = PerCpuArray::new();

#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn decap(context: XdpContext) -> u32 {
    // SAFETY: this is the context that the kernel passed.
    let cursor = unsafe { Cursor::new(context.ctx) };
    match open(cursor) {
        Ok(()) => {
            if let Some(count) = DECAP_COUNT.get_ptr_mut(0) {
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
fn open(cursor: Cursor) -> Result<(), Verdict> {
    let (l3, kind) = parse::link(&cursor)?;
    match kind {
        wire::ETHERTYPE_IPV4 => strip::<Addr4>(cursor, l3),
        wire::ETHERTYPE_IPV6 => strip::<Addr6>(cursor, l3),
        _ => Err(Verdict::NotOurs),
    }
}

#[inline(always)]
fn strip<A: Family>(cursor: Cursor, l3: u8) -> Result<(), Verdict> {
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
            (
                unsafe { DECAP_VIPS_V4.get(&to) }.is_some(),
                wire::ETHERTYPE_IPV4,
            )
        }
        wire::IPV6_IN => {
            let to = Addr6(cursor.read::<wire::Ipv6>(l4)?.destination());
            // SAFETY: as above.
            (
                unsafe { DECAP_VIPS_V6.get(&to) }.is_some(),
                wire::ETHERTYPE_IPV6,
            )
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
    let mut cursor = cursor.grow_front(-shrink)?;
    let link = cursor.header::<wire::Ethernet>(0)?;
    link.set_mac_words(macs);
    link.set_kind(inner);
    Ok(())
}
