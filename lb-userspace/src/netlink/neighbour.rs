//! Neighbours: who has an address on a link.

use std::net::IpAddr;

use netlink_packet_route::{
    RouteNetlinkMessage as Message,
    neighbour::{
        NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
    },
};

use super::ask::family;
use crate::model::Mac;

/// Who has an address on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Neighbour {
    pub ifindex: u32,
    pub address: IpAddr,
    pub state: NeighbourIs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeighbourIs {
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

/// For all of them.
pub(super) fn question() -> Message {
    Message::GetNeighbour(NeighbourMessage::default())
}

pub(super) fn about(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(address);
    message.header.ifindex = ifindex;
    message
        .attributes
        .push(NeighbourAttribute::Destination(address.into()));
    message
}

/// For the kernel to find out, or confirm, who has this address.
pub(super) fn wanted(ifindex: u32, address: IpAddr) -> NeighbourMessage {
    let mut message = about(ifindex, address);
    message.header.flags = NeighbourFlags::Use;
    message
}

pub(super) fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
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
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                lladdr = bytes.as_slice().try_into().ok();
            }
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

/// The address of one that has answered, and that is no group.
pub(super) fn host(message: &NeighbourMessage) -> Option<IpAddr> {
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
