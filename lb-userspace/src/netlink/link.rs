//! Interfaces.

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
    pub mtu: u32,
    /// It is one end of a virtual pair.
    pub veth: bool,
    /// The XDP program on it, if any.
    pub xdp: Option<XdpAttached>,
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
        mtu: 0,
        veth: false,
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
                link.veth = infos.contains(&LinkInfo::Kind(InfoKind::Veth));
            }
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
