//! Backends and load balancers, as the packet path sees them.

use super::plain::plain;

/// One backend; the index is in the flow entries and in the Maglev table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Backend {
    /// The first twelve bytes of a frame to this backend: the destination's MAC
    /// address and the source's (see [`macs`]).
    pub macs: [u32; 3],
    /// The interface that leads there.
    pub ifindex: u32,
    pub epoch: u32,
    /// [`TAKES_NEW`] and others.
    pub flags: u32,
    /// [`super::address::Address::words`] of its address.
    pub address: [u32; 4],
    /// The address that ebb uses towards it: the nat source where no pool is
    /// configured, or the base of the tunnel's outer source.
    pub source: [u32; 4],
    pub lb: u16,
    /// The MTU of the link there.
    pub mtu: u16,
    /// The forwarding mode: [`crate::mode::Mode::byte`].
    pub mode: u8,
    /// What the outer header of a tunnel has of the inner one's traffic class, and what it
    /// has besides: see [`Self::outer_class`].
    pub class_kept: u8,
    pub class_added: u8,
    pub pad: u8,
}

impl Backend {
    /// The traffic class (DSCP and ECN) of the header of a tunnel there, around a datagram
    /// of class `inner`.
    #[inline(always)]
    #[must_use]
    pub const fn outer_class(&self, inner: u8) -> u8 {
        inner & self.class_kept | self.class_added
    }
}

/// [`Backend::macs`] for a frame from `source` to `destination`.
#[must_use]
pub const fn macs(destination: [u8; 6], source: [u8; 6]) -> [u32; 3] {
    let ([a, b, c, d, e, f], [g, h, i, j, k, l]) = (destination, source);
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, g, h]),
        u32::from_ne_bytes([i, j, k, l]),
    ]
}

plain!(Backend, LoadBalancer, Pool, Slots);
const _: () = assert!(size_of::<Backend>() == 64);

/// May take new flows.
pub const TAKES_NEW: u32 = 1 << 0;
/// The next hop is known (MAC address and interface).
pub const REACHABLE: u32 = 1 << 1;
/// `address` and `source` are IPv6.
pub const V6: u32 = 1 << 2;
/// The interface that leads there takes no frames from XDP: those are left to the program
/// at TC.
pub const AT_TC: u32 = 1 << 3;
/// What leaves by that interface has no link header.
pub const BARE: u32 = 1 << 4;

/// What the packet path must know of a load balancer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct LoadBalancer {
    /// Mixed into the flow's hash; the same on all nodes that serve the VIP.
    pub seed: u32,
    /// The slots in use, a prime of at most [`crate::maglev::MAX_SLOTS`].
    pub slots: u32,
    /// The forwarding mode: [`crate::mode::Mode::byte`].
    pub mode: u8,
    /// In which tables of established flows it has more than its share while they are
    /// short of room: [`over_share`]. What is left there is for the others.
    pub over_share: u8,
    /// 1 if nat leaves the client's address and port in its packets.
    pub keeps_source: u8,
    pub pad: u8,
    /// The addresses that nat translates to, in IPv4 and in IPv6.
    pub pools: [Pool; 2],
}
const _: () = assert!(size_of::<LoadBalancer>() == 20);

/// A part of the table of addresses that nat may translate to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Pool {
    pub first: u16,
    /// 0: the backend's own source.
    pub len: u16,
}

/// The bit of a family's table in [`LoadBalancer::over_share`].
#[inline(always)]
#[must_use]
pub const fn over_share(v6: bool) -> u8 {
    1 << v6 as u8
}

/// A Maglev table: the single value of an inner map, so that it is written by
/// one system call and swapped by another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Slots(pub [u16; SLOTS_LEN]);

/// More than [`crate::maglev::MAX_SLOTS`], because the verifier rounds an
/// index up to the next odd byte; and whole words.
pub const SLOTS_LEN: usize = 65_540;
const _: () = assert!(SLOTS_LEN >= crate::maglev::MAX_SLOTS && SLOTS_LEN.is_multiple_of(4));
