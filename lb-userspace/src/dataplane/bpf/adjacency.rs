//! What the kernel program must know to send frames to a backend.

use std::net::IpAddr;

use lb_common::abi::{
    address::{Addr4, Addr6, Address, words_of},
    backend::{self, BARE, Backend, REACHABLE, V6},
};

use crate::model::Mac;

/// The next hop to a backend, and our end of the link there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Adjacency {
    pub(super) ifindex: u32,
    /// The backend's, or that of the router before it.
    pub(super) to: Mac,
    /// Ours on that interface.
    pub(super) from: Mac,
    /// Our address towards the backend, of the backend's family.
    pub(super) source: IpAddr,
    pub(super) mtu: u16,
    /// The link has no MAC addresses: those here are zero.
    pub(super) bare: bool,
}

impl Adjacency {
    /// The two MAC addresses as an Ethernet header begins.
    pub(super) fn macs(&self) -> [u32; 3] {
        backend::macs(self.to, self.from)
    }

    /// The one that an earlier agent wrote for the same backend.
    pub(super) fn of(row: &Backend) -> Option<Self> {
        if row.flags & REACHABLE == 0 {
            return None;
        }
        let [a, b, c] = row.macs.map(u32::to_ne_bytes);
        Some(Self {
            ifindex: row.ifindex,
            to: [a[0], a[1], a[2], a[3], b[0], b[1]],
            from: [b[2], b[3], c[0], c[1], c[2], c[3]],
            source: address_of(row.source, row.flags & V6 != 0),
            mtu: row.mtu,
            bare: row.flags & BARE != 0,
        })
    }
}

/// An address as [`words_of`] lays it out, back again.
pub(super) fn address_of(words: [u32; 4], v6: bool) -> IpAddr {
    if v6 {
        Addr6::from_words(words).into()
    } else {
        Addr4::from_words(words).into()
    }
}

/// The outer source of a tunnel with its varying bits cleared: the program
/// writes into them.
pub(super) fn tunnel_base(address: IpAddr, bits: u8) -> [u32; 4] {
    let mut words = words_of(address);
    let last = if address.is_ipv6() { 3 } else { 0 };
    let mask = u32::MAX.checked_shl(u32::from(bits)).unwrap_or(0);
    words[last] &= mask.to_be();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_adjacency_comes_back_from_the_row_it_was_written_to() {
        let adjacency = Adjacency {
            ifindex: 7,
            to: [1, 2, 3, 4, 5, 6],
            from: [7, 8, 9, 10, 11, 12],
            source: "10.0.1.1".parse().unwrap(),
            mtu: 1500,
            bare: false,
        };
        let row = Backend {
            macs: adjacency.macs(),
            ifindex: adjacency.ifindex,
            flags: REACHABLE,
            source: words_of(adjacency.source),
            mtu: adjacency.mtu,
            ..Backend::default()
        };
        assert_eq!(Adjacency::of(&row), Some(adjacency));
        assert_eq!(Adjacency::of(&Backend { flags: 0, ..row }), None);
    }

    #[test]
    fn the_base_of_a_tunnel_leaves_the_varying_bits_to_the_program() {
        let base = tunnel_base("172.16.255.255".parse().unwrap(), 16);
        assert_eq!(address_of(base, false).to_string(), "172.16.0.0");
        let base = tunnel_base("fd00::ffff:ffff".parse().unwrap(), 8);
        assert_eq!(address_of(base, true).to_string(), "fd00::ffff:ff00");
        let base = tunnel_base("10.0.0.1".parse().unwrap(), 0);
        assert_eq!(address_of(base, false).to_string(), "10.0.0.1");
    }
}
