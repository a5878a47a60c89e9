//! Is it for a VIP, and for which listener of it?

use lb_common::abi::{
    address::Address,
    counter::Verdict,
    flow::FlowKey,
    vip::{
        FILTER_BITS, FILTER_WORDS, Filter, Listener, NAT_SOURCE, VIP_ITSELF, VipKey, filter_bit,
    },
};

use crate::{family::Family, maps};

/// What an address is to us.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ours {
    No,
    Vip,
    NatSource,
}

/// False if no VIP and no nat source can have this address.
#[inline(always)]
pub(crate) fn maybe_ours<A: Address>(address: A) -> bool {
    maps::FILTER
        .get(0)
        .is_some_and(|filter| has(filter, address))
}

/// False if a packet between these two is for no VIP, for no nat source, and not from a
/// backend that answers clients by their own addresses.
#[inline(always)]
pub(crate) fn maybe_between<A: Address>(from: A, to: A) -> bool {
    maps::FILTER
        .get(0)
        .is_some_and(|filter| has(filter, to) || filter[FILTER_WORDS] != 0 && has(filter, from))
}

/// Whether there are flows whose packets to the backend come from their clients' addresses.
#[inline(always)]
pub(crate) fn some_keep_their_source() -> bool {
    maps::FILTER
        .get(0)
        .is_some_and(|filter| filter[FILTER_WORDS] != 0)
}

#[inline(always)]
fn has<A: Address>(filter: &Filter, address: A) -> bool {
    let bit = filter_bit(address) & (FILTER_BITS - 1);
    filter
        .get((bit / 64) as usize)
        .is_some_and(|word| word >> (bit % 64) & 1 != 0)
}

/// What `address` is, whatever the port.
#[inline(always)]
pub(crate) fn address<A: Family>(address: A) -> Ours {
    let key = VipKey {
        address,
        port: 0,
        protocol: 0,
    };
    match index(&key) {
        Some(VIP_ITSELF) => Ours::Vip,
        Some(NAT_SOURCE) => Ours::NatSource,
        _ => Ours::No,
    }
}

/// Nobody sends from this address over a network.
#[inline(always)]
pub(crate) fn is_martian<A: Family>(source: A) -> bool {
    !source.is_of_a_host() || maybe_ours(source) && address(source) != Ours::No
}

/// Whether there is a listener at this address and port.
#[inline(always)]
pub(crate) fn is_listener<A: Family>(address: A, port: u16, protocol: u32) -> bool {
    let key = VipKey {
        address,
        port: port.to_be(),
        protocol: protocol as u16,
    };
    index(&key).is_some_and(|index| index < NAT_SOURCE)
}

/// The listener that the packet is for, with its index.
#[inline(always)]
pub(crate) fn listener<A: Family>(
    key: &FlowKey<A>,
) -> Result<(u16, &'static Listener<A>), Verdict> {
    let vip = VipKey {
        address: key.destination,
        port: key.ports.destination().to_be(),
        protocol: key.protocol as u16,
    };
    match index(&vip) {
        Some(index) => {
            let listener = A::listeners().get(index).ok_or(Verdict::DropInternal)?;
            Ok((index as u16, listener))
        }
        None => Err(match address(key.destination) {
            Ours::Vip => Verdict::NoListener,
            Ours::NatSource => Verdict::NotAFlow,
            Ours::No => Verdict::NotOurs,
        }),
    }
}

#[inline(always)]
fn index<A: Family>(key: &VipKey<A>) -> Option<u32> {
    // SAFETY: the value is copied at once, and is one aligned word.
    unsafe { A::vips().get(key) }.copied()
}
