//! VIPs and listeners.

use super::{
    address::{Addr4, Addr6, Address},
    plain::plain,
};

/// What a packet is looked up by when no flow knows it. Protocol and port zero
/// stand for the VIP itself (echo, fragments).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct VipKey<A> {
    pub address: A,
    /// As on the wire.
    pub port: u16,
    pub protocol: u16,
}

/// A listener's index, and [`VIP_ITSELF`] for a VIP without port.
pub type ListenerIndex = u32;
/// The value of the VIP's own entry.
pub const VIP_ITSELF: ListenerIndex = ListenerIndex::MAX;
/// The value of the entry of an address that ebb translates to (nat source).
pub const NAT_SOURCE: ListenerIndex = ListenerIndex::MAX - 1;

/// A listener by its index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Listener<A> {
    pub address: A,
    /// As on the wire.
    pub port: u16,
    /// As on the wire.
    pub backend_port: u16,
    pub lb: u16,
    pub protocol: u16,
}

plain!(
    VipKey<Addr4>,
    VipKey<Addr6>,
    Listener<Addr4>,
    Listener<Addr6>
);
const _: () = assert!(size_of::<VipKey<Addr4>>() == 8 && size_of::<VipKey<Addr6>>() == 20);
const _: () = assert!(size_of::<Listener<Addr4>>() == 12 && size_of::<Listener<Addr6>>() == 24);

/// A bit per hash value of an address: unset means that no VIP, no nat source and no backend
/// that answers clients has it, which lets what is not ours go by after one look.
pub const FILTER_BITS: u32 = 4096;
/// The filter as the single value of its map: its bits, and whether the *source* of a packet
/// counts as well, for backends that answer clients by their own addresses.
pub type Filter = [u64; FILTER_WORDS + 1];
/// Words of bits. The one behind them is 1 if sources count.
pub const FILTER_WORDS: usize = FILTER_BITS as usize / 64;

/// The bit of an address in the filter.
#[inline(always)]
#[must_use]
pub fn filter_bit<A: Address>(address: A) -> u32 {
    // Fibonacci hashing: the top bits of the product are the mixed ones.
    address.mix().wrapping_mul(0x9E37_79B1) >> (32 - FILTER_BITS.trailing_zeros())
}
