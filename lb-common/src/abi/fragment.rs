//! Fragments: how those without a header of layer 4 find their flow.

use super::{
    address::{Addr4, Addr6},
    plain::plain,
};

/// What all fragments of a datagram share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey<A> {
    pub source: A,
    pub destination: A,
    /// The identification, as on the wire.
    pub id: u32,
    pub protocol: u32,
}

/// What the first fragment knew.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FragmentPorts {
    pub ports: super::flow::Ports,
    /// When it was seen, in ticks.
    pub seen: u32,
}

plain!(FragmentKey<Addr4>, FragmentKey<Addr6>, FragmentPorts);
const _: () = assert!(size_of::<FragmentKey<Addr4>>() == 16);
const _: () = assert!(size_of::<FragmentKey<Addr6>>() == 40);

/// How long the fragments of a datagram follow the first one.
pub const FRAGMENT_TICKS: u32 = super::flow::ticks(30_000);
