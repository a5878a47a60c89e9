//! Tells the hosts on a link which MAC address an IP address now has.
//!
//! A neighbour keeps for minutes what it has learnt of an address, so one that
//! moves here from another host is unreachable until each has asked again, unless
//! it is told: by a gratuitous ARP request (RFC 5227, section 3: an announcement)
//! or an unsolicited neighbour advertisement (RFC 9131 and RFC 4861, section
//! 7.2.6).
//!
//! Either may be lost, so each is said again twice, by a thread of its own.

use std::{
    collections::VecDeque,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, Icmpv6Type, PacketBuilder,
    icmpv6::NeighborAdvertisementHeader,
};

use crate::{
    model::Mac,
    packet_socket::{self, PacketSocket},
};

const BROADCAST: Mac = [0xff; 6];
/// All nodes of a link (RFC 4291, section 2.7.1), and the MAC address of that
/// group (RFC 2464, section 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];
/// What a neighbour's packet must have, so that no router has passed it on.
const HOP_LIMIT: u8 = 255;

/// How often each is said, and how long after one another (RFC 5227, section
/// 1.1: `ANNOUNCE_NUM`, `ANNOUNCE_INTERVAL`, and one more).
const TIMES: u32 = 3;
const INTERVAL: Duration = Duration::from_secs(2);

/// A frame that says it.
struct Announcement {
    ifindex: u32,
    address: IpAddr,
    bytes: Vec<u8>,
}

impl packet_socket::Frame for Announcement {
    fn ifindex(&self) -> u32 {
        self.ifindex
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Says it, in the network namespace of the thread that made it.
#[derive(Debug)]
pub(crate) struct Announcer {
    said: mpsc::Sender<Announcement>,
}

impl Announcer {
    /// # Errors
    /// When there is no raw socket or thread to be had.
    pub(crate) fn start() -> io::Result<Self> {
        let socket = PacketSocket::open()?;
        let (said, heard) = mpsc::channel();
        thread::Builder::new()
            .name("announcer".to_owned())
            .spawn(move || say(&socket, &heard))?;
        Ok(Self { said })
    }

    /// Says on a link that `address` is at `mac`, from now on.
    ///
    /// # Errors
    /// When the frame cannot be built.
    pub(crate) fn announce(&self, ifindex: u32, mac: Mac, address: IpAddr) -> io::Result<()> {
        let announcement = Announcement {
            ifindex,
            address,
            bytes: match address {
                IpAddr::V4(address) => arp(mac, address),
                IpAddr::V6(address) => advertisement(mac, address),
            }?,
        };
        self.said
            .send(announcement)
            .map_err(|_| io::Error::other("the thread that announces addresses is gone"))
    }
}

/// The thread. What is due lies in the order in which it is.
fn say(socket: &PacketSocket, heard: &mpsc::Receiver<Announcement>) {
    let mut due: VecDeque<(Instant, u32, Announcement)> = VecDeque::new();
    loop {
        let next = match due.front() {
            None => heard.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some((when, _, _)) => {
                heard.recv_timeout(when.saturating_duration_since(Instant::now()))
            }
        };
        match next {
            Ok(announcement) => {
                send(socket, &announcement);
                due.push_back((Instant::now() + INTERVAL, TIMES - 1, announcement));
            }
            Err(RecvTimeoutError::Timeout) => {
                if let Some((_, left, announcement)) = due.pop_front() {
                    send(socket, &announcement);
                    if left > 1 {
                        due.push_back((Instant::now() + INTERVAL, left - 1, announcement));
                    }
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                // Each once more, at its time; the process may end before.
                for (when, _, announcement) in due {
                    thread::sleep(when.saturating_duration_since(Instant::now()));
                    send(socket, &announcement);
                }
                return;
            }
        }
    }
}

fn send(socket: &PacketSocket, announcement: &Announcement) {
    if let Err(unsent) = socket.send(std::slice::from_ref(announcement)) {
        // The interface may have gone meanwhile.
        tracing::debug!(
            "{} is not announced: {}",
            announcement.address,
            unsent.reason.map_or_else(
                || "the kernel did not send it".to_owned(),
                |e| e.to_string()
            )
        );
    }
}

fn arp(mac: Mac, address: Ipv4Addr) -> io::Result<Vec<u8>> {
    let packet = ArpPacket::new(
        ArpHardwareId::ETHERNET,
        EtherType::IPV4,
        ArpOperation::REQUEST,
        &mac,
        &address.octets(),
        &[0; 6],
        &address.octets(),
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

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: Mac = [2, 0, 0, 0, 0, 0xB];

    #[test]
    fn an_ipv4_address_is_announced_by_a_request_for_itself() {
        let address = Ipv4Addr::new(10, 0, 0, 100);
        let bytes = arp(MAC, address).unwrap();
        assert_eq!(bytes[..6], BROADCAST);
        let seen = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(NetSlice::Arp(arp)) = seen.net else {
            panic!("{seen:?}");
        };
        assert_eq!(arp.operation(), ArpOperation::REQUEST);
        assert_eq!(arp.sender_hw_addr(), MAC);
        assert_eq!(arp.sender_protocol_addr(), address.octets());
        assert_eq!(arp.target_protocol_addr(), address.octets());
    }

    #[test]
    fn an_ipv6_address_is_announced_by_an_advertisement_that_overrides() {
        let address: Ipv6Addr = "fd00::100".parse().unwrap();
        let bytes = advertisement(MAC, address).unwrap();
        assert_eq!(bytes[..6], ALL_NODES_MAC);
        let seen = SlicedPacket::from_ethernet(&bytes).unwrap();
        let Some(NetSlice::Ipv6(ip)) = &seen.net else {
            panic!("{seen:?}");
        };
        assert_eq!(ip.header().hop_limit(), 255);
        assert_eq!(ip.header().destination_addr(), ALL_NODES);
        let Some(TransportSlice::Icmpv6(icmp)) = seen.transport else {
            panic!("{seen:?}");
        };
        assert!(icmp.is_checksum_valid(ip.header().source(), ip.header().destination()));
        let Icmpv6Type::NeighborAdvertisement(header) = icmp.icmp_type() else {
            panic!("{:?}", icmp.icmp_type());
        };
        assert!(header.r#override && !header.solicited);
        assert_eq!(icmp.payload()[..16], address.octets());
        assert_eq!(icmp.payload()[16..], [2, 1, 2, 0, 0, 0, 0, 0xB]);
    }
}
