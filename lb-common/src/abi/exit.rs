//! The ways out to clients.
//!
//! A flow names its way out by a number. Where a router leads to the clients, that number is
//! the router's, and the agent writes its MAC address anew when it changes: the flow need
//! not hear from its client to find it.

use super::{
    address::{Addr4, Addr6},
    config::MAX_INTERFACES,
    plain::plain,
};
use crate::wire::Mac;

/// A way out: an interface, and the router on it if one leads to the clients.
///
/// The first [`MAX_INTERFACES`] are the interfaces by themselves, in the order of our own
/// numbers; routers come after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Exit {
    /// The kernel's index of the interface to leave by; 0: this way out is nobody's.
    pub ifindex: u32,
    /// Our MAC address there.
    pub from: Mac,
    /// The router's. Zero: frames go to the MAC address that the flow's client last
    /// sent from.
    pub to: Mac,
    /// Of the way, as far as the host knows it.
    pub mtu: u16,
    /// 1 if `router` is IPv6.
    pub v6: u8,
    /// [`AT_TC`] and others.
    pub flags: u8,
    /// The router that this way is for, and the index of its interface: which it keeps
    /// when another router has to take its place.
    pub home: u32,
    /// [`super::address::Address::words`].
    pub router: [u32; 4],
}

/// The interface takes no frames from XDP: those are left to the program at TC.
pub const AT_TC: u8 = 1 << 0;
/// What leaves by the interface has no link header.
pub const BARE: u8 = 1 << 1;
/// The interface is the host's loopback device.
pub const LOOPBACK: u8 = 1 << 2;

/// How many ways out there are room for, interfaces and routers.
pub const MAX_EXITS: u32 = 1024;
const _: () = assert!(MAX_EXITS > MAX_INTERFACES);

/// A MAC address on a link, which is a router's for one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RouterKey {
    pub ifindex: u32,
    pub mac: Mac,
    /// 1 for IPv6.
    pub v6: u16,
}

/// What a route of the host leads to: addresses that begin alike, by one interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct Reach<A> {
    pub ifindex: u32,
    pub address: A,
}

/// A [`Reach`] in the table of routes, whose longest match counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct RouteKey<A> {
    /// How many bits have to be the same: those of the interface, and of the address.
    pub bits: u32,
    pub reach: Reach<A>,
}

/// The bits of a [`Reach`] that are the interface's.
pub const INTERFACE_BITS: u32 = u32::BITS;

/// How many routes of each family there is room for.
pub const MAX_ROUTES: u32 = 1024;

plain!(
    Exit,
    RouterKey,
    Reach<Addr4>,
    Reach<Addr6>,
    RouteKey<Addr4>,
    RouteKey<Addr6>
);
const _: () = assert!(size_of::<Exit>() == 40 && size_of::<RouterKey>() == 12);
const _: () = assert!(size_of::<RouteKey<Addr4>>() == 12 && size_of::<RouteKey<Addr6>>() == 24);
