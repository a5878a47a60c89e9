//! What is believed of packets that arrive.

use super::Mac;

/// What of the packets that arrive is taken for true.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals {
    /// MAC addresses that frames to us may have, besides the interfaces' own (VRRP).
    pub macs: Vec<Mac>,
    /// The smallest path MTU over IPv4 that an ICMP error may tell.
    pub least_mtu: u16,
}

/// What every IPv6 link carries, and nearly every path over IPv4.
const LEAST_MTU: u16 = 1280;

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            macs: Vec::new(),
            least_mtu: LEAST_MTU,
        }
    }
}
