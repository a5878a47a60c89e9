//! Frames for the tests: built and read by a library of its own, so that a
//! mistake in ebb's own headers and checksums cannot hide here.

use std::net::{IpAddr, SocketAddr};

use etherparse::{NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice};

pub(crate) type Mac = [u8; 6];

/// Ends of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

pub(crate) fn ends(from: &str, to: &str) -> Ends {
    Ends {
        from: from.parse().expect("a socket address"),
        to: to.parse().expect("a socket address"),
    }
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) ends: Ends,
    pub(crate) flags: u8,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) payload: usize,
}

fn link(ends: Ends, macs: (Mac, Mac)) -> PacketBuilderStep<etherparse::IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(macs.0, macs.1);
    match (ends.from.ip(), ends.to.ip()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => ethernet.ipv4(a.octets(), b.octets(), 64),
        (IpAddr::V6(a), IpAddr::V6(b)) => ethernet.ipv6(a.octets(), b.octets(), 64),
        _ => panic!("a packet has one family"),
    }
}

pub(crate) fn tcp(macs: (Mac, Mac), segment: Segment) -> Vec<u8> {
    let Segment {
        ends,
        flags,
        seq,
        ack,
        payload,
    } = segment;
    let mut step = link(ends, macs).tcp(ends.from.port(), ends.to.port(), seq, 64_000);
    if flags & FIN != 0 {
        step = step.fin();
    }
    if flags & SYN != 0 {
        step = step.syn();
    }
    if flags & RST != 0 {
        step = step.rst();
    }
    if flags & PSH != 0 {
        step = step.psh();
    }
    if flags & ACK != 0 {
        step = step.ack(ack);
    }
    let payload: Vec<u8> = (0..payload).map(|i| i as u8).collect();
    let mut frame = Vec::new();
    step.write(&mut frame, &payload).expect("written to memory");
    frame
}

pub(crate) fn udp(macs: (Mac, Mac), ends: Ends, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    link(ends, macs)
        .udp(ends.from.port(), ends.to.port())
        .write(&mut frame, payload)
        .expect("written to memory");
    frame
}

/// A frame as it left the program, read whole; all its checksums are right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Destination, source.
    pub(crate) macs: (Mac, Mac),
    pub(crate) ends: Ends,
    pub(crate) hops: u8,
    pub(crate) tcp: Option<Segment>,
    pub(crate) udp: Option<Vec<u8>>,
}

/// Reads a frame and checks every length and checksum in it.
///
/// # Panics
/// If anything about it is not as it must be; the frame is printed.
pub(crate) fn read(frame: &[u8]) -> Seen {
    let broken = |what: &str| -> ! { panic!("{what} in {frame:02x?}") };
    let Ok(packet) = SlicedPacket::from_ethernet(frame) else {
        broken("no packet")
    };
    let Some(etherparse::LinkSlice::Ethernet2(link)) = &packet.link else {
        broken("no ethernet")
    };
    let (from, to, hops) = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let header = ip.header().to_header();
            if header.header_checksum != header.calc_header_checksum() {
                broken("bad IPv4 checksum")
            }
            (
                IpAddr::from(header.source),
                IpAddr::from(header.destination),
                header.time_to_live,
            )
        }
        Some(NetSlice::Ipv6(ip)) => {
            let header = ip.header().to_header();
            (
                IpAddr::from(header.source),
                IpAddr::from(header.destination),
                header.hop_limit,
            )
        }
        _ => broken("no IP"),
    };
    let mut seen = Seen {
        macs: (link.destination(), link.source()),
        ends: Ends {
            from: SocketAddr::new(from, 0),
            to: SocketAddr::new(to, 0),
        },
        hops,
        tcp: None,
        udp: None,
    };
    match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            let header = tcp.to_header();
            seen.ends.from.set_port(header.source_port);
            seen.ends.to.set_port(header.destination_port);
            let right = match (from, to) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    header.calc_checksum_ipv4_raw(a.octets(), b.octets(), tcp.payload())
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    header.calc_checksum_ipv6_raw(a.octets(), b.octets(), tcp.payload())
                }
                _ => unreachable!("one header, one family"),
            };
            if right != Ok(header.checksum) {
                broken("bad TCP checksum")
            }
            let flags = [
                (header.fin, FIN),
                (header.syn, SYN),
                (header.rst, RST),
                (header.psh, PSH),
                (header.ack, ACK),
            ];
            seen.tcp = Some(Segment {
                ends: seen.ends,
                flags: flags.iter().filter(|(set, _)| *set).map(|(_, f)| f).sum(),
                seq: header.sequence_number,
                ack: header.acknowledgment_number,
                payload: tcp.payload().len(),
            });
        }
        Some(TransportSlice::Udp(udp)) => {
            let header = udp.to_header();
            seen.ends.from.set_port(header.source_port);
            seen.ends.to.set_port(header.destination_port);
            let right = match (from, to) {
                (IpAddr::V4(a), IpAddr::V4(b)) => {
                    header.calc_checksum_ipv4_raw(a.octets(), b.octets(), udp.payload())
                }
                (IpAddr::V6(a), IpAddr::V6(b)) => {
                    header.calc_checksum_ipv6_raw(a.octets(), b.octets(), udp.payload())
                }
                _ => unreachable!("one header, one family"),
            };
            if header.checksum != 0 && right != Ok(header.checksum) {
                broken("bad UDP checksum")
            }
            seen.udp = Some(udp.payload().to_vec());
        }
        _ => {}
    }
    seen
}
