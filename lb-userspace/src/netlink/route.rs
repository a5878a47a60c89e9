//! Routes: where the kernel would send a packet.

use std::net::IpAddr;

use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric, RouteType, RouteVia},
};

use super::ask::family;

/// Where the kernel would send a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    pub kind: RouteKind,
    pub ifindex: Option<u32>,
    /// `None` if the destination is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The address that the host would use as source.
    pub source: Option<IpAddr>,
    /// Of the route; `None`: that of the interface.
    pub mtu: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteKind {
    Unicast,
    /// An address of the host itself.
    Local,
    /// Blackhole, prohibit, broadcast and others that lead to no backend.
    Other,
}

/// For the one that a packet to this address takes.
pub(super) fn question(to: IpAddr) -> Message {
    let mut message = RouteMessage::default();
    message.header.address_family = family(to);
    message.header.destination_prefix_length = if to.is_ipv6() { 128 } else { 32 };
    message
        .attributes
        .push(RouteAttribute::Destination(to.into()));
    Message::GetRoute(message)
}

pub(super) fn route(answer: &Message) -> Option<Route> {
    let Message::NewRoute(message) = answer else {
        return None;
    };
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
    Some(route)
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(a) => Some((*a).into()),
        RouteAddress::Inet6(a) => Some((*a).into()),
        _ => None,
    }
}
