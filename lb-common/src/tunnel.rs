//! The outer header of a packet to an ipip backend: IPv4 or IPv6 in either of them
//! (RFC 2003, RFC 2473, RFC 4213), and what becomes of the word about congestion on the
//! way in and out (RFC 6040). The kernel program and the agent's resets have it from here.

use crate::{
    abi::backend::{Backend, V6},
    wire,
};

/// What goes into the tunnel.
#[derive(Debug, Clone, Copy)]
pub struct Inner {
    /// An IPv6 datagram, not an IPv4 one.
    pub v6: bool,
    /// Its length in bytes.
    pub len: u16,
    /// The traffic class of the outer header: [`Backend::outer_class`] of its own.
    pub class: u8,
    /// What varies in the outer source address by flow, as on the wire.
    pub varied: u32,
}

/// The IP header that leads to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outer {
    V4,
    V6,
}

impl Outer {
    /// That of a tunnel to `backend`.
    #[inline(always)]
    #[must_use]
    pub const fn to(backend: &Backend) -> Self {
        if backend.flags & V6 != 0 {
            Self::V6
        } else {
            Self::V4
        }
    }

    /// Its length in bytes.
    #[inline(always)]
    #[must_use]
    pub const fn header_len(self) -> usize {
        match self {
            Self::V4 => wire::IPV4_LEN,
            Self::V6 => wire::IPV6_LEN,
        }
    }

    /// Its EtherType, as on the wire.
    #[inline(always)]
    #[must_use]
    pub const fn ethertype(self) -> u16 {
        match self {
            Self::V4 => wire::ETHERTYPE_IPV4,
            Self::V6 => wire::ETHERTYPE_IPV6,
        }
    }
}

impl Inner {
    #[inline(always)]
    const fn protocol(self) -> u8 {
        if self.v6 { wire::IPV6_IN } else { wire::IPIP }
    }

    /// Writes the header of a tunnel over IPv4 to `backend`.
    #[inline(always)]
    pub fn begin_v4(self, header: &mut wire::Ipv4, backend: &Backend) {
        header.begin(
            self.class,
            self.len + wire::IPV4_LEN as u16,
            self.protocol(),
            backend.source[0] | self.varied,
            backend.address[0],
        );
    }

    /// Writes the header of a tunnel over IPv6 to `backend`.
    #[inline(always)]
    pub fn begin_v6(self, header: &mut wire::Ipv6, backend: &Backend) {
        let [a, b, c, d] = backend.source;
        header.begin(
            self.class,
            self.len,
            self.protocol(),
            [a, b, c, d | self.varied],
            backend.address,
        );
    }
}

/// The traffic class of a datagram that leaves a tunnel, which it had `inner` in and whose
/// header had `outer`: congestion that the tunnel has met is told on (RFC 6040, figure 4).
/// `None`: it is to be dropped, for its sender understands nothing else.
#[inline(always)]
#[must_use]
pub const fn class_behind(inner: u8, outer: u8) -> Option<u8> {
    let (own, met) = (inner & wire::ECN, outer & wire::ECN);
    let told = if met == wire::ECN_CE {
        if own == wire::ECN_NOT_ECT {
            return None;
        }
        wire::ECN_CE
    } else if met == wire::ECN_ECT_1 && own == wire::ECN_ECT_0 {
        wire::ECN_ECT_1
    } else {
        own
    };
    Some(inner & !wire::ECN | told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ECN_CE as CE, ECN_ECT_0 as ECT0, ECN_ECT_1 as ECT1, ECN_NOT_ECT as NOT};

    #[test]
    fn congestion_leaves_a_tunnel_as_figure_4_of_rfc_6040_has_it() {
        let outers = [NOT, ECT0, ECT1, CE];
        for (inner, leave) in [
            (NOT, [Some(NOT), Some(NOT), Some(NOT), None]),
            (ECT0, [Some(ECT0), Some(ECT0), Some(ECT1), Some(CE)]),
            (ECT1, [Some(ECT1), Some(ECT1), Some(ECT1), Some(CE)]),
            (CE, [Some(CE), Some(CE), Some(CE), Some(CE)]),
        ] {
            for (outer, expected) in outers.into_iter().zip(leave) {
                // Whatever their DSCP: the inner one's stays.
                let found = class_behind(0xB8 | inner, 0x28 | outer);
                let expected = expected.map(|ecn| 0xB8 | ecn);
                assert_eq!(found, expected, "{inner:02b} in {outer:02b}");
            }
        }
    }

    #[test]
    fn a_backend_says_what_is_copied_into_the_outer_class() {
        let mut backend = Backend {
            class_kept: 0xFF,
            ..Backend::default()
        };
        assert_eq!(backend.outer_class(0xBB), 0xBB);
        (backend.class_kept, backend.class_added) = (wire::ECN, 10 << 2);
        assert_eq!(backend.outer_class(0xBB), 0x2B);
    }
}
