//! Settings of the packet path.

use super::plain::plain;
use crate::wire::Mac;

/// The single value of its map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// The first and the last port that nat may use, in the host's order.
    pub nat_port_first: u16,
    pub nat_port_last: u16,
    /// How many low bits of the outer source address of a tunnel vary by flow.
    pub tunnel_bits_v4: u8,
    pub tunnel_bits_v6: u8,
    /// The smallest path MTU over IPv4 that an ICMP error is believed to tell.
    pub least_mtu_v4: u16,
    /// Secret: where a flow begins to look for a nat port.
    pub nat_seed: u32,
    /// MAC addresses that frames to us may have, besides the interfaces' own (VRRP).
    /// Zero: none.
    pub macs: [Mac; MAX_MACS],
}

plain!(Settings);
const _: () = assert!(size_of::<Settings>() == 60);

/// How many interfaces the program is attached to at most.
pub const MAX_INTERFACES: u32 = 64;
pub const MAX_NAT_POOL: u32 = 256;
/// The first port that nat may use: those below belong to services.
pub const FIRST_NAT_PORT: u16 = 1024;
/// MAC addresses of ours besides those of the interfaces.
pub const MAX_MACS: usize = 8;
