//! Addresses of the host's own.

use std::net::IpAddr;

use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo},
};

use super::ask::family;

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface's index.
    pub link: u32,
    pub address: IpAddr,
    /// How many of its bits the hosts on the link have in common.
    pub prefix: u8,
}

/// A lifetime without end.
const FOREVER: u32 = u32::MAX;

/// For all of them.
pub(super) fn question() -> Message {
    Message::GetAddress(AddressMessage::default())
}

/// The address of a link, for one host.
pub(super) fn about(link: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    message.header.family = family(address);
    message.header.prefix_len = if address.is_ipv6() { 128 } else { 32 };
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message
}

/// A new one, which IPv6 neither waits for nor uses by itself.
pub(super) fn new(link: u32, address: IpAddr) -> AddressMessage {
    let mut message = about(link, address);
    if address.is_ipv6() {
        message.header.flags = AddressHeaderFlags::Nodad;
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_preferred = 0;
        lifetime.ifa_valid = FOREVER;
        message
            .attributes
            .push(AddressAttribute::CacheInfo(lifetime));
    }
    message
}

pub(super) fn address(answer: &Message) -> Option<Address> {
    let Message::NewAddress(message) = answer else {
        return None;
    };
    // On a point-to-point link `Address` is the other end's.
    let local = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Local(address) => Some(*address),
            _ => None,
        });
    let any = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        });
    Some(Address {
        link: message.header.index,
        address: local.or(any)?,
        prefix: message.header.prefix_len,
    })
}
