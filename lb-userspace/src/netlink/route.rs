//! Routes: where the kernel would send a packet, and all that it has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    route::{
        RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric,
        RouteType, RouteVia,
    },
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

/// Addresses that begin alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prefix {
    pub address: IpAddr,
    /// How many of its bits count.
    pub len: u8,
}

/// A route of the host's main table, to hosts elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostRoute {
    pub prefix: Prefix,
    /// The smaller one counts.
    pub metric: u32,
    /// `None`: that of the interface.
    pub mtu: Option<u32>,
    /// More than one where packets are spread over several.
    pub hops: Vec<Hop>,
}

/// One way that a route goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    pub ifindex: u32,
    /// `None` if the destination is on the link itself.
    pub gateway: Option<IpAddr>,
}

/// For all of them.
pub(super) fn question_for_all() -> Message {
    Message::GetRoute(RouteMessage::default())
}

pub(super) fn host_route(answer: &Message) -> Option<HostRoute> {
    let Message::NewRoute(message) = answer else {
        return None;
    };
    let header = &message.header;
    if header.kind != RouteType::Unicast
        || header.table != RouteHeader::RT_TABLE_MAIN
        || header.flags.contains(RouteFlags::Cloned)
    {
        return None;
    }
    let nowhere: IpAddr = match header.address_family {
        AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
        AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
        _ => return None,
    };
    let mut route = HostRoute {
        prefix: Prefix {
            address: nowhere,
            len: header.destination_prefix_length,
        },
        metric: 0,
        mtu: None,
        hops: Vec::new(),
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(address) => {
                route.prefix.address = route_address(address)?;
            }
            RouteAttribute::Priority(metric) => route.metric = *metric,
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            RouteAttribute::MultiPath(hops) => {
                route.hops.extend(hops.iter().map(|hop| Hop {
                    ifindex: hop.interface_index,
                    gateway: gateway(&hop.attributes),
                }));
            }
            RouteAttribute::Oif(ifindex) => route.hops.push(Hop {
                ifindex: *ifindex,
                gateway: gateway(&message.attributes),
            }),
            _ => {}
        }
    }
    Some(route)
}

fn gateway(attributes: &[RouteAttribute]) -> Option<IpAddr> {
    attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(address) => route_address(address),
        RouteAttribute::Via(RouteVia::Inet(address)) => Some((*address).into()),
        RouteAttribute::Via(RouteVia::Inet6(address)) => Some((*address).into()),
        _ => None,
    })
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
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
        gateway: gateway(&message.attributes),
        source: None,
        mtu: None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => route.ifindex = Some(*index),
            RouteAttribute::PrefSource(address) => route.source = route_address(address),
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
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
