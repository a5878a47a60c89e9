//! The host's interfaces and addresses, asked and changed through rtnetlink;
//! and [`owner`]: whose a connection within it is.
//!
//! Of the network namespace that the thread is in, unlike `/sys/class/net`,
//! which shows that of whoever mounted it.

pub(crate) mod ask;
pub(crate) mod owner;

use std::{io, net::IpAddr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage, CacheInfo},
    link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
};

use self::ask::Asker;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub loopback: bool,
    /// None if it is not Ethernet.
    pub mac: Option<[u8; 6]>,
    pub mtu: Option<u32>,
}

/// An address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The interface's index.
    pub link: u32,
    pub address: IpAddr,
    /// How many of its bits the hosts on the link have in common.
    pub prefix: u8,
}

/// A socket to rtnetlink. Calls block, for as long as the kernel needs.
pub struct Netlink(Asker);

/// A lifetime without end.
const FOREVER: u32 = u32::MAX;

impl Netlink {
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn open() -> io::Result<Self> {
        Asker::open().map(Self)
    }

    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self
            .0
            .ask(Message::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(link).collect())
    }

    /// # Errors
    /// When the kernel does not answer.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let question = Message::GetAddress(AddressMessage::default());
        let answers = self.0.ask(question, NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(address).collect())
    }

    /// Who is known to be behind a link, and to answer.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn neighbours(&mut self, link: u32) -> io::Result<Vec<IpAddr>> {
        let question = Message::GetNeighbour(NeighbourMessage::default());
        let answers = self.0.ask(question, NLM_F_DUMP)?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewNeighbour(message) if message.header.ifindex == link => {
                    neighbour(message)
                }
                _ => None,
            })
            .collect())
    }

    /// Puts an address on a link, for one host: no route comes with it, and
    /// IPv6 does not wait to see whether somebody else has it, nor uses it for
    /// the host's own connections.
    ///
    /// # Errors
    /// When the kernel refuses; `AlreadyExists` if it is there.
    pub fn add_address(&mut self, link: u32, address: IpAddr) -> io::Result<()> {
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
        let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
        self.0.ask(Message::NewAddress(message), flags).map(drop)
    }

    /// # Errors
    /// When the kernel refuses; `AddrNotAvailable` if it is not there.
    pub fn remove_address(&mut self, link: u32, address: IpAddr) -> io::Result<()> {
        let question = Message::DelAddress(about(link, address));
        self.0.ask(question, NLM_F_ACK).map(drop)
    }
}

fn about(link: u32, address: IpAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = link;
    (message.header.family, message.header.prefix_len) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32),
        IpAddr::V6(_) => (AddressFamily::Inet6, 128),
    };
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message
}

fn link(answer: &Message) -> Option<Link> {
    let Message::NewLink(message) = answer else {
        return None;
    };
    let name = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        })?;
    Some(Link {
        index: message.header.index,
        name,
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        mac: (message.header.link_layer_type == LinkLayerType::Ether)
            .then(|| {
                message
                    .attributes
                    .iter()
                    .find_map(|attribute| match attribute {
                        LinkAttribute::Address(bytes) => bytes.as_slice().try_into().ok(),
                        _ => None,
                    })
            })
            .flatten(),
        mtu: message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(*mtu),
                _ => None,
            }),
    })
}

fn address(answer: &Message) -> Option<Address> {
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

/// The address of one that has answered, and that is no group.
fn neighbour(message: &NeighbourMessage) -> Option<IpAddr> {
    let answers = matches!(
        message.header.state,
        NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe
            | NeighbourState::Permanent
    );
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                Some(IpAddr::from(*address))
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address))
                if !address.is_unicast_link_local() =>
            {
                Some(IpAddr::from(*address))
            }
            _ => None,
        })?;
    (answers && !address.is_multicast()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_and_its_address_are_found() {
        let mut netlink = Netlink::open().unwrap();
        let links = netlink.links().unwrap();
        let lo = links.iter().find(|link| link.loopback).unwrap();
        assert_eq!(lo.name, "lo");
        let addresses = netlink.addresses().unwrap();
        let home = addresses
            .iter()
            .find(|address| address.link == lo.index && address.address.is_ipv4());
        assert_eq!(home.is_some(), lo.up, "{addresses:?}");
    }
}
