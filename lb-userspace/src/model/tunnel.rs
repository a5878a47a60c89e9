//! Where tunnels come from.

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
