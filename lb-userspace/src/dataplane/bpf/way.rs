//! The way to a backend, as the kernel program needs it.

use std::net::IpAddr;

use lb_common::abi::{
    address::{Addr4, Addr6, Address, words_of},
    backend::{self, Backend, REACHABLE, V6},
};

/// A MAC address.
pub(super) type Mac = [u8; 6];

/// How packets get to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) ifindex: u32,
    /// The backend's, or that of the router before it.
    pub(super) to: Mac,
    /// Ours on that interface.
    pub(super) from: Mac,
    /// Our address towards the backend, of the backend's family.
    pub(super) source: IpAddr,
    pub(super) mtu: u16,
}

impl Way {
    /// The two MAC addresses as an Ethernet header begins.
    pub(super) fn macs(&self) -> [u32; 3] {
        backend::macs(self.to, self.from)
    }

    /// The way that an earlier agent wrote for the same backend.
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

pub(super) fn words([a, b, c, d, e, f]: Mac) -> [u16; 3] {
    [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
}

pub(super) fn bytes(words: [u16; 3]) -> Mac {
    let [[a, b], [c, d], [e, f]] = words.map(u16::to_ne_bytes);
    [a, b, c, d, e, f]
}

/// A MAC address as people write it.
pub(super) fn text([a, b, c, d, e, f]: Mac) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_comes_back_from_the_row_it_was_written_to() {
        let way = Way {
            ifindex: 7,
            to: [1, 2, 3, 4, 5, 6],
            from: [7, 8, 9, 10, 11, 12],
            source: "10.0.1.1".parse().unwrap(),
            mtu: 1500,
        };
        let row = Backend {
            macs: way.macs(),
            ifindex: way.ifindex,
            flags: REACHABLE,
            source: words_of(way.source),
            mtu: way.mtu,
            ..Backend::default()
        };
        assert_eq!(Way::of(&row), Some(way));
        assert_eq!(Way::of(&Backend { flags: 0, ..row }), None);
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
