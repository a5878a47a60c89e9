//! The frames by which a host says, and asks, who has an address.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Icmpv6Type, PacketBuilder,
    icmpv6::NeighborAdvertisementHeader,
};

use crate::model::Mac;

const BROADCAST: Mac = [0xff; 6];
/// All nodes of a link (RFC 4291, section 2.7.1), and the MAC address of that
/// group (RFC 2464, section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// What a neighbour's packet must have, so that no router has passed it on.
const HOP_LIMIT: u8 = 255;

/// Says that the address is at this MAC address from now on.
pub(super) fn announcement(mac: Mac, address: IpAddr) -> io::Result<Vec<u8>> {
    match address {
        IpAddr::V4(address) => arp(mac, address, address),
        IpAddr::V6(address) => advertisement(mac, address),
    }
}

/// Asks whether anybody has the address, without saying anything of ours (RFC 5227,
/// section 2.1.1; RFC 4862, section 5.4.2).
pub(super) fn probe(mac: Mac, address: IpAddr) -> io::Result<Vec<u8>> {
    match address {
        IpAddr::V4(address) => arp(mac, Ipv4Addr::UNSPECIFIED, address),
        IpAddr::V6(address) => solicitation(mac, address),
    }
}

fn arp(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> io::Result<Vec<u8>> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &mac,
        &sender.octets(),
        &[0; 6],
        &target.octets(),
    )
    .map_err(io::Error::other)?;
    let builder = PacketBuilder::ethernet2(mac, BROADCAST).arp(packet);
    let mut bytes = Vec::with_capacity(builder.size());
    builder.write(&mut bytes).map_err(io::Error::other)?;
    Ok(bytes)
}

fn advertisement(mac: Mac, address: Ipv6Addr) -> io::Result<Vec<u8>> {
    let header = NeighborAdvertisementHeader {
        router: false,
        solicited: false,
        r#override: true,
    };
    // The target, then its link-layer address: an option of type 2, which is one
    // unit of eight bytes long (RFC 4861, section 4.6.1).
    let mut body = address.octets().to_vec();
    body.extend([2, 1]);
    body.extend(mac);
    let builder = PacketBuilder::ethernet2(mac, ALL_NODES_MAC)
        .ipv6(address.octets(), ALL_NODES.octets(), HOP_LIMIT)
        .icmpv6(Icmpv6Type::NeighborAdvertisement(header));
    let mut bytes = Vec::with_capacity(builder.size(body.len()));
    builder.write(&mut bytes, &body).map_err(io::Error::other)?;
    Ok(bytes)
}

fn solicitation(mac: Mac, address: Ipv6Addr) -> io::Result<Vec<u8>> {
    // The group of all whose address ends like this one (RFC 4291, section 2.7.1).
    let [.., high, middle, low] = address.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        u16::from_be_bytes([0xff, high]),
        u16::from_be_bytes([middle, low]),
    );
    let group_mac = [0x33, 0x33, 0xff, high, middle, low];
    let body = address.octets();
    let builder = PacketBuilder::ethernet2(mac, group_mac)
        .ipv6(Ipv6Addr::UNSPECIFIED.octets(), group.octets(), HOP_LIMIT)
        .icmpv6(Icmpv6Type::NeighborSolicitation);
    let mut bytes = Vec::with_capacity(builder.size(body.len()));
    builder.write(&mut bytes, &body).map_err(io::Error::other)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 0xB];

    fn arp_of(bytes: &[u8]) -> ArpPacket {
        assert_eq!(bytes[..6], BROADCAST);
        let seen = SlicedPacket::from_ethernet(bytes).unwrap();
        let Some(NetSlice::Arp(arp)) = seen.net else {
            panic!("{seen:?}");
        };
        arp.to_packet()
    }

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_for_itself() {
        let address = Ipv4Addr::new(10, 0, 0, 100);
        let arp = arp_of(&announcement(MAC, address.into()).unwrap());
        assert_eq!(arp.operation, ArpOperation::REQUEST);
        assert_eq!(arp.sender_hw_addr(), MAC);
        assert_eq!(arp.sender_protocol_addr(), address.octets());
        assert_eq!(arp.target_protocol_addr(), address.octets());
    }

    #[test]
    fn a_probe_for_an_ipv4_address_says_nothing_of_the_sender() {
        let address = Ipv4Addr::new(10, 0, 0, 100);
        let arp = arp_of(&probe(MAC, address.into()).unwrap());
        assert_eq!(arp.operation, ArpOperation::REQUEST);
        assert_eq!(arp.sender_hw_addr(), MAC);
        assert_eq!(arp.sender_protocol_addr(), [0; 4]);
        assert_eq!(arp.target_protocol_addr(), address.octets());
    }

    fn icmp_of(bytes: &[u8]) -> (Ipv6Addr, Ipv6Addr, Icmpv6Type, Vec<u8>) {
        let seen = SlicedPacket::from_ethernet(bytes).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &seen.net else {
            panic!("{seen:?}");
        };
        let header = ip.header();
        assert_eq!(header.hop_limit(), 255);
        let Some(TransportSlice::Icmpv6(icmp)) = seen.transport else {
            panic!("{seen:?}");
        };
        assert!(icmp.is_checksum_valid(header.source(), header.destination()));
        let (from, to) = (header.source_addr(), header.destination_addr());
        (from, to, icmp.icmp_type(), icmp.payload().to_vec())
    }

    #[test]
    fn an_ipv6_address_is_announced_by_an_advertisement_that_overrides() {
        let address: Ipv6Addr = "fd00::100".parse().unwrap();
        let bytes = announcement(MAC, address.into()).unwrap();
        assert_eq!(bytes[..6], ALL_NODES_MAC);
        let (_, to, kind, body) = icmp_of(&bytes);
        assert_eq!(to, ALL_NODES);
        let Icmpv6Type::NeighborAdvertisement(header) = kind else {
            panic!("{kind:?}");
        };
        assert!(header.r#override && !header.solicited);
        assert_eq!(body[..16], address.octets());
        assert_eq!(body[16..], [2, 1, 2, 0, 0, 0, 0, 0xB]);
    }

    #[test]
    fn a_probe_for_an_ipv6_address_is_that_of_duplicate_address_detection() {
        let address: Ipv6Addr = "fd00::12:3456".parse().unwrap();
        let bytes = probe(MAC, address.into()).unwrap();
        assert_eq!(bytes[..6], [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
        let (from, to, kind, body) = icmp_of(&bytes);
        assert_eq!(from, Ipv6Addr::UNSPECIFIED);
        assert_eq!(to, "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap());
        assert!(matches!(kind, Icmpv6Type::NeighborSolicitation), "{kind:?}");
        assert_eq!(body, address.octets());
    }
}
