//! The outer header of a packet to an ipip backend: IPv4 or IPv6 in either of them
//! (RFC 2003, RFC 2473, RFC 4213). The kernel program and the agent's resets have it
//! from here.

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
            self.len,
            self.protocol(),
            [a, b, c, d | self.varied],
            backend.address,
        );
    }
}
