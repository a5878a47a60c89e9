//! Who shares a door's places with whom: an address, or a user.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// One that gets one share of a door, however many connections it makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    /// By TCP: an address; all of loopback, and a /64 of IPv6, are one, for
    /// whoever has one address of them has them all.
    Address(IpAddr),
    /// By the Unix socket.
    User(u32),
    /// Root, and the user that the agent runs as: places are kept for them.
    Operator(u32),
}

impl Party {
    pub(super) fn at(address: IpAddr) -> Self {
        let address = address.to_canonical();
        Self::Address(match address {
            _ if address.is_loopback() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V4(_) => address,
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        })
    }

    pub(super) fn user(uid: u32) -> Self {
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            Self::Operator(uid)
        } else {
            Self::User(uid)
        }
    }

    pub(super) fn is_operator(self) -> bool {
        matches!(self, Self::Operator(_))
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V6(network)) => write!(f, "{network}/64"),
            Self::Address(address) if address.is_loopback() => f.write_str("this host"),
            Self::Address(address) => write!(f, "{address}"),
            Self::User(uid) | Self::Operator(uid) => write!(f, "uid {uid}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_has_one_address_of_a_network_has_them_all() {
        let at = |text: &str| Party::at(text.parse().unwrap());
        assert_eq!(at("127.0.0.1"), at("127.9.9.9"));
        assert_eq!(at("127.0.0.1"), at("::1"));
        assert_eq!(at("192.0.2.1"), at("::ffff:192.0.2.1"));
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:1"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
        assert_eq!(at("2001:db8::1").to_string(), "2001:db8::/64");
        assert_eq!(at("127.0.0.2").to_string(), "this host");
    }

    #[test]
    fn root_is_an_operator_and_a_stranger_is_not() {
        assert!(Party::user(0).is_operator());
        assert!(!Party::user(65_534).is_operator());
    }
}
