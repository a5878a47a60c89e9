//! Interfaces.

use netlink_packet_core::{DefaultNla, Emitable as _};
use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    link::{
        InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage, LinkXdp,
        XdpAttached as attached,
    },
};

use crate::model::Mac;

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub index: u32,
    pub name: String,
    pub up: bool,
    pub loopback: bool,
    /// `None` if it is not Ethernet.
    pub mac: Option<Mac>,
    /// Its packets have no link header, and nobody on it a MAC address.
    pub bare: bool,
    pub mtu: u32,
    pub kind: LinkKind,
    /// The XDP program on it, if any.
    pub xdp: Option<XdpAttached>,
}

/// What makes the kernel's devices differ as places for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKind {
    /// One end of a pair.
    Veth,
    /// The network side of a device whose other side is a program, or a virtual machine.
    Tun,
    /// Several devices under one name.
    Bond,
    Other,
}

impl LinkKind {
    /// Why its driver would run a program at XDP, and it is no place for one all the same.
    #[must_use]
    pub const fn unfit_for_xdp(self) -> Option<&'static str> {
        match self {
            Self::Veth | Self::Tun => Some(
                "what its other end sends is as that host has left it: in segments of 64 KiB, \
                 and without checksums",
            ),
            Self::Bond => Some("XDP sees its members, and not the bond"),
            Self::Other => None,
        }
    }
}

/// How an XDP program is attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XdpAttached {
    Driver,
    Generic,
}

/// For all of them.
pub(super) fn question() -> Message {
    Message::GetLink(LinkMessage::default())
}

/// `accept_local`, as of the link's settings for IPv4, which the library only reads.
pub(super) fn accepts_local(link: u32) -> LinkMessage {
    // linux/if_link.h and linux/ip.h.
    const IFLA_AF_SPEC: u16 = 26;
    const IFLA_INET_CONF: u16 = 1;
    const IPV4_DEVCONF_ACCEPT_LOCAL: u16 = 23;
    let around = |kind, inner: &DefaultNla| {
        let mut bytes = vec![0; inner.buffer_len()];
        inner.emit(&mut bytes);
        DefaultNla::new(kind, bytes)
    };
    let setting = DefaultNla::new(IPV4_DEVCONF_ACCEPT_LOCAL, 1_u32.to_ne_bytes().to_vec());
    let settings = around(IFLA_INET_CONF, &setting);
    let family = around(libc::AF_INET as u16, &settings);
    let mut message = LinkMessage::default();
    message.header.index = link;
    message.attributes = vec![LinkAttribute::Other(around(IFLA_AF_SPEC, &family))];
    message
}

pub(super) fn link(answer: &Message) -> Option<Link> {
    let Message::NewLink(message) = answer else {
        return None;
    };
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        up: message.header.flags.contains(LinkFlags::Up),
        loopback: message.header.flags.contains(LinkFlags::Loopback),
        mac: None,
        bare: is_bare(message.header.link_layer_type),
        mtu: 0,
        kind: LinkKind::Other,
        xdp: None,
    };
    let is_ethernet = message.header.link_layer_type == LinkLayerType::Ether;
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) if is_ethernet => {
                link.mac = bytes.as_slice().try_into().ok();
            }
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::LinkInfo(infos) => {
                link.kind = infos.iter().find_map(kind).unwrap_or(LinkKind::Other);
            }
            LinkAttribute::Xdp(attributes) => link.xdp = attributes.iter().find_map(xdp),
            _ => {}
        }
    }
    (!link.name.is_empty()).then_some(link)
}

/// As the kernel sees it when a program sends a packet there (`dev_is_mac_header_xmit`).
fn is_bare(kind: LinkLayerType) -> bool {
    matches!(
        kind,
        LinkLayerType::None
            | LinkLayerType::Ppp
            | LinkLayerType::Rawip
            | LinkLayerType::Tunnel
            | LinkLayerType::Tunnel6
            | LinkLayerType::Sit
            | LinkLayerType::Ipgre
            | LinkLayerType::Ip6gre
    )
}

fn kind(info: &LinkInfo) -> Option<LinkKind> {
    match info {
        LinkInfo::Kind(InfoKind::Veth) => Some(LinkKind::Veth),
        LinkInfo::Kind(InfoKind::Tun) => Some(LinkKind::Tun),
        LinkInfo::Kind(InfoKind::Bond) => Some(LinkKind::Bond),
        _ => None,
    }
}

fn xdp(attribute: &LinkXdp) -> Option<XdpAttached> {
    match attribute {
        LinkXdp::Attached(attached::SocketBuffer) => Some(XdpAttached::Generic),
        LinkXdp::Attached(attached::Driver | attached::Hardware) => Some(XdpAttached::Driver),
        _ => None,
    }
}
