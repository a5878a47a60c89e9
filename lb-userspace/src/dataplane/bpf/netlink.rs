//! What the kernel knows of links, routes and neighbours (rtnetlink), and its
//! notices when that changes.

use std::{
    io,
    net::IpAddr,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    link::{LinkAttribute, LinkLayerType, LinkMessage, LinkXdp, XdpAttached as attached},
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::mac::Mac;
use crate::netlink::ask::{Asker, BUFFER, messages};

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    /// `None` if it is not Ethernet.
    pub(super) mac: Option<Mac>,
    pub(super) mtu: u32,
    /// The XDP program on it, if any.
    pub(super) xdp: Option<XdpAttached>,
}

/// How an XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum XdpAttached {
    Driver,
    Generic,
}

/// Where the kernel would send a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) kind: RouteKind,
    pub(super) ifindex: Option<u32>,
    /// `None` if the destination is on the link itself.
    pub(super) gateway: Option<IpAddr>,
    /// The address that the host would use as source.
    pub(super) source: Option<IpAddr>,
    /// Of the route; `None`: that of the interface.
    pub(super) mtu: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RouteKind {
    Unicast,
    /// An address of the host itself.
    Local,
    /// Blackhole, prohibit, broadcast and others that lead to no backend.
    Other,
}

/// Who has an address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) ifindex: u32,
    pub(super) address: IpAddr,
    pub(super) state: NeighbourIs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NeighbourIs {
    /// The kernel keeps asking whether it is still there.
    Learnt(Mac),
    /// By hand, or needing no question.
    Fixed(Mac),
    /// Asked, no answer yet.
    Asked,
    /// Asked, and there was no answer.
    Silent,
    /// Not asked.
    Unknown,
}

/// A notice that something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Notice {
    /// An interface came, went or changed.
    Links,
    /// A route or one of the host's addresses.
    Routes,
    Neighbour(Neighbour),
    /// Notices were lost: look at everything again.
    Lost,
}

/// Asks the kernel.
pub(super) struct Netlink(Asker);

impl Netlink {
    pub(super) fn open() -> io::Result<Self> {
        Asker::open().map(Self)
    }

    pub(super) fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self
            .0
            .ask(Message::GetLink(LinkMessage::default()), NLM_F_DUMP)?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewLink(message) => link(message),
                _ => None,
            })
            .collect())
    }

    pub(super) fn route(&mut self, to: IpAddr) -> io::Result<Route> {
        let mut message = RouteMessage::default();
        message.header.address_family = family(to);
        message.header.destination_prefix_length = if to.is_ipv6() { 128 } else { 32 };
        message
            .attributes
            .push(RouteAttribute::Destination(to.into()));
        let answers = self.0.ask(Message::GetRoute(message), 0)?;
        answers
            .iter()
            .find_map(|answer| match answer {
                Message::NewRoute(message) => Some(route(message)),
                _ => None,
            })
            .ok_or_else(no_answer)
    }

    pub(super) fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> io::Result<NeighbourIs> {
        let question = Message::GetNeighbour(about(ifindex, address));
        let answers = match self.0.ask(question, 0) {
            Ok(answers) => answers,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(NeighbourIs::Unknown);
            }
            Err(error) => return Err(error),
        };
        answers
            .iter()
            .find_map(|answer| match answer {
                Message::NewNeighbour(message) => neighbour(message),
                _ => None,
            })
            .map(|n| n.state)
            .ok_or_else(no_answer)
    }

    /// All neighbours that the kernel knows.
    pub(super) fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let question = Message::GetNeighbour(NeighbourMessage::default());
        let answers = self.0.ask(question, NLM_F_DUMP)?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewNeighbour(message) => neighbour(message),
                _ => None,
            })
            .collect())
    }

    /// Makes the kernel find out, or confirm, who has this address, as if it had
    /// a packet for it.
    pub(super) fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        let mut message = about(ifindex, address);
        message.header.flags = NeighbourFlags::Use;
        self.0
            .ask(Message::NewNeighbour(message), NLM_F_CREATE | NLM_F_ACK)
            .map(drop)
    }
}

/// Hears the kernel's notices.
pub(super) struct Notices {
    socket: Socket,
    buffer: Vec<u8>,
}

/// Groups from linux/rtnetlink.h.
const GROUPS: [u32; 6] = [
    1,  // RTNLGRP_LINK
    3,  // RTNLGRP_NEIGH
    5,  // RTNLGRP_IPV4_IFADDR
    7,  // RTNLGRP_IPV4_ROUTE
    9,  // RTNLGRP_IPV6_IFADDR
    11, // RTNLGRP_IPV6_ROUTE
];

/// Room for the notices of some thousand neighbours at once, a kilobyte each.
const RECEIVE_BUFFER: usize = 8 << 20;

impl Notices {
    pub(super) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // Beyond the host's limit for all, as far as our rights go.
        if set_socket_recv_buffer_size_force(socket.as_fd(), RECEIVE_BUFFER).is_err() {
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        }
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// What has come in so far.
    pub(super) fn read(&mut self) -> io::Result<Vec<Notice>> {
        let mut notices = Vec::new();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(notices),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The kernel had more to say than there was room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    notices.push(Notice::Lost);
                    continue;
                }
                Err(error) => return Err(error),
            }
            for message in messages(&self.buffer) {
                match message {
                    Ok(message) => {
                        if let NetlinkPayload::InnerMessage(inner) = message.payload {
                            notices.extend(notice(&inner));
                        }
                    }
                    // Something newer than the parser; what it was about is
                    // found by looking.
                    Err(_) => notices.push(Notice::Lost),
                }
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn no_answer() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's answer does not say what was asked",
    )
}

fn family(address: IpAddr) -> AddressFamily {
    match address {
        IpAddr::V4(_) => AddressFamily::Inet,
        IpAddr::V6(_) => AddressFamily::Inet6,
    }
}

fn about(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message
        .attributes
        .push(NeighbourAttribute::Destination(address.into()));
    message
}

fn notice(message: &Message) -> Option<Notice> {
    match message {
        Message::NewLink(_) | Message::DelLink(_) => Some(Notice::Links),
        Message::NewRoute(_)
        | Message::DelRoute(_)
        | Message::NewAddress(_)
        | Message::DelAddress(_) => Some(Notice::Routes),
        Message::NewNeighbour(message) => neighbour(message).map(Notice::Neighbour),
        Message::DelNeighbour(message) => neighbour(message).map(|n| {
            Notice::Neighbour(Neighbour {
                state: NeighbourIs::Unknown,
                ..n
            })
        }),
        _ => None,
    }
}

fn link(message: &LinkMessage) -> Option<Link> {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: None,
        mtu: 0,
        xdp: None,
    };
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => link.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Xdp(attributes) => link.xdp = attributes.iter().find_map(xdp),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

fn xdp(attribute: &LinkXdp) -> Option<XdpAttached> {
    match attribute {
        LinkXdp::Attached(attached::SocketBuffer) => Some(XdpAttached::Generic),
        LinkXdp::Attached(attached::Driver | attached::Hardware) => Some(XdpAttached::Driver),
        _ => None,
    }
}

fn route(message: &RouteMessage) -> Route {
    let mut route = Route {
        kind: match message.header.kind {
            RouteType::Unicast => RouteKind::Unicast,
            RouteType::Local => RouteKind::Local,
            _ => RouteKind::Other,
        },
        ifindex: None,
        gateway: None,
        source: None,
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.ifindex = Some(*index),
            RouteAttribute::Gateway(address) => route.gateway = route_address(address),
            RouteAttribute::Via(RouteVia::Inet(address)) => route.gateway = Some((*address).into()),
            RouteAttribute::Via(RouteVia::Inet6(address)) => {
                route.gateway = Some((*address).into());
            }
            RouteAttribute::PrefSource(address) => route.source = route_address(address),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    route
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    let mut address = None;
    let mut lladdr = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => {
                address = Some((*a).into());
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(a)) => {
                address = Some((*a).into());
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => lladdr = mac(bytes),
            _ => {}
        }
    }
    let state = match (message.header.state, lladdr) {
        (NeighbourState::Permanent | NeighbourState::Noarp, Some(mac)) => NeighbourIs::Fixed(mac),
        (
            NeighbourState::Reachable
            | NeighbourState::Stale
            | NeighbourState::Delay
            | NeighbourState::Probe,
            Some(mac),
        ) => NeighbourIs::Learnt(mac),
        (NeighbourState::Incomplete, _) => NeighbourIs::Asked,
        (NeighbourState::Failed, _) => NeighbourIs::Silent,
        _ => NeighbourIs::Unknown,
    };
    Some(Neighbour {
        ifindex: message.header.ifindex,
        address: address?,
        state,
    })
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_of_the_loopback_interface() {
        let links = Netlink::open().unwrap().links().unwrap();
        let lo = links.iter().find(|l| l.name == "lo").unwrap();
        assert_eq!(lo.index, 1);
        assert_eq!(lo.mac, None, "loopback is not Ethernet");
    }

    #[test]
    fn what_is_not_a_message_ends_the_datagram() {
        assert_eq!(messages::<Message>(&[]).count(), 0);
        assert_eq!(messages::<Message>(&[1, 2, 3]).count(), 0);
        // A length of zero, which would never get on.
        let mut results = messages::<Message>(&[0; 32]);
        assert!(results.next().unwrap().is_err());
        assert!(results.next().unwrap().is_err());
        assert!(results.next().is_none());
    }

    #[test]
    fn a_neighbour_without_an_answer_has_no_mac() {
        let mut message = about(3, "10.0.0.2".parse().unwrap());
        message.header.state = NeighbourState::Failed;
        message
            .attributes
            .push(NeighbourAttribute::LinkLayerAddress(vec![1, 2, 3, 4, 5, 6]));
        assert_eq!(
            neighbour(&message).unwrap(),
            Neighbour {
                ifindex: 3,
                address: "10.0.0.2".parse().unwrap(),
                state: NeighbourIs::Silent,
            }
        );
    }
}
