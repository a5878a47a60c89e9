//! Where tunnels come from, and of which class.

use std::net::IpAddr;

/// The addresses that tunnels (ipip) come from: a prefix, so that a backend can
/// spread tunnelled flows over its queues by the outer source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelSource {
    /// With its host bits zero.
    pub address: IpAddr,
    /// How many of its low bits vary with the flow, at most 32.
    pub bits: u8,
}

/// The DSCP in the outer header of a tunnel. What is said of congestion (ECN) is copied
/// from the inner header always (RFC 6040).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Dscp {
    /// That of the inner header.
    #[default]
    Copy,
    /// This one, of six bits, whatever the inner header has.
    Fixed(u8),
}

impl Dscp {
    /// The highest that six bits hold.
    pub const MOST: u8 = 63;
}
