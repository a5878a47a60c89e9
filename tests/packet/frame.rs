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
    pub(crate) icmp: Option<Icmp>,
}

/// An ICMP or ICMPv6 message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Icmp {
    pub(crate) kind: u8,
    pub(crate) code: u8,
    pub(crate) rest: [u8; 4],
    pub(crate) payload: Vec<u8>,
}

/// An ICMP message from one address to another.
pub(crate) fn icmp(macs: (Mac, Mac), from: IpAddr, to: IpAddr, message: &Icmp) -> Vec<u8> {
    let ends = Ends {
        from: SocketAddr::new(from, 0),
        to: SocketAddr::new(to, 0),
    };
    let mut frame = Vec::new();
    let Icmp {
        kind,
        code,
        rest,
        payload,
    } = message;
    if from.is_ipv4() {
        link(ends, macs)
            .icmpv4_raw(*kind, *code, *rest)
            .write(&mut frame, payload)
    } else {
        link(ends, macs)
            .icmpv6_raw(*kind, *code, *rest)
            .write(&mut frame, payload)
    }
    .expect("written to memory");
    frame
}

/// The frame with VLAN tags behind its MAC addresses.
pub(crate) fn tagged(frame: &[u8], tags: &[[u8; 4]]) -> Vec<u8> {
    [&frame[..12], &tags.concat(), &frame[12..]].concat()
}

/// The frame with words of options in its IPv4 header.
pub(crate) fn with_options(frame: &[u8], options: &[u8]) -> Vec<u8> {
    let (mut header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
    header.options = options.try_into().expect("whole words of options");
    header.total_len += options.len() as u16;
    header.header_checksum = header.calc_header_checksum();
    [&frame[..14], &header.to_bytes(), &frame[34..]].concat()
}

/// The frame with this traffic class.
pub(crate) fn with_class(frame: &[u8], class: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame[12..14] == [0x86, 0xDD] {
        frame[14] = 0x60 | class >> 4;
        frame[15] = class << 4 | frame[15] & 0x0F;
    } else {
        frame[15] = class;
        let (header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
        let sum = header.calc_header_checksum();
        frame[14 + 10..14 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// The IPv4 frame of a datagram that routers may fragment.
pub(crate) fn that_may_be_fragmented(frame: &[u8]) -> Vec<u8> {
    let (mut header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
    header.dont_fragment = false;
    header.identification = 0x1234;
    header.header_checksum = header.calc_header_checksum();
    [&frame[..14], &header.to_bytes(), &frame[34..]].concat()
}

/// The frame with so many hops left.
pub(crate) fn with_hops(frame: &[u8], hops: u8) -> Vec<u8> {
    let mut frame = frame.to_vec();
    if frame[12..14] == [0x86, 0xDD] {
        frame[14 + 7] = hops;
    } else {
        let (mut header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
        header.time_to_live = hops;
        let sum = header.calc_header_checksum();
        frame[14 + 8] = hops;
        frame[14 + 10..14 + 12].copy_from_slice(&sum.to_be_bytes());
    }
    frame
}

/// The IPv6 frame with an extension header of 8 bytes before its payload.
pub(crate) fn with_extension(frame: &[u8], kind: u8) -> Vec<u8> {
    let mut header = frame[14..54].to_vec();
    let next = std::mem::replace(&mut header[6], kind);
    let len = u16::from_be_bytes([header[4], header[5]]) + 8;
    header[4..6].copy_from_slice(&len.to_be_bytes());
    // PadN of four bytes fills it.
    [
        &frame[..14],
        &header,
        &[next, 0, 1, 4, 0, 0, 0, 0],
        &frame[54..],
    ]
    .concat()
}

/// The datagram of a frame in fragments whose payload is `size` at most (a
/// multiple of eight).
pub(crate) fn fragments(frame: &[u8], size: usize) -> Vec<Vec<u8>> {
    assert_eq!(size % 8, 0, "fragments end on eight bytes");
    let v6 = frame[12..14] == [0x86, 0xDD];
    let payload = &frame[if v6 { 54 } else { 34 }..];
    let pieces: Vec<_> = payload.chunks(size).collect();
    let last = pieces.len() - 1;
    let cut = |(i, piece): (usize, &&[u8])| {
        let (offset, more) = (i * size / 8, i < last);
        if v6 {
            let mut header = frame[14..54].to_vec();
            let next = std::mem::replace(&mut header[6], 44);
            header[4..6].copy_from_slice(&((piece.len() + 8) as u16).to_be_bytes());
            let place = ((offset << 3) as u16 | u16::from(more)).to_be_bytes();
            let fragment = [next, 0, place[0], place[1], 0, 0, 0x12, 0x34];
            [&frame[..14], &header, &fragment, piece].concat()
        } else {
            let (mut header, _) = etherparse::Ipv4Header::from_slice(&frame[14..]).expect("IPv4");
            header.identification = 0x1234;
            header.dont_fragment = false;
            header.more_fragments = more;
            header.fragment_offset = (offset as u16).try_into().expect("13 bits");
            header.total_len = (20 + piece.len()) as u16;
            header.header_checksum = header.calc_header_checksum();
            [&frame[..14], &header.to_bytes(), piece].concat()
        }
    };
    pieces.iter().enumerate().map(cut).collect()
}

/// The frame of a TCP segment, with the checksum that it should have.
pub(crate) fn with_right_sums(frame: &[u8]) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(frame).expect("a packet");
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        panic!("no TCP in {frame:02x?}")
    };
    let header = tcp.to_header();
    let sum = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => {
            let ip = ip.header();
            header.calc_checksum_ipv4_raw(ip.source(), ip.destination(), tcp.payload())
        }
        Some(NetSlice::Ipv6(ip)) => {
            let ip = ip.header();
            header.calc_checksum_ipv6_raw(ip.source(), ip.destination(), tcp.payload())
        }
        _ => panic!("no IP in {frame:02x?}"),
    };
    let mut frame = frame.to_vec();
    let at = frame.len() - tcp.slice().len() + 16;
    frame[at..at + 2].copy_from_slice(&sum.expect("a short segment").to_be_bytes());
    frame
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
        icmp: None,
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
        Some(TransportSlice::Icmpv4(icmp)) => {
            if icmp.header().icmp_type.calc_checksum(icmp.payload()) != icmp.checksum() {
                broken("bad ICMP checksum")
            }
            seen.icmp = Some(Icmp {
                kind: icmp.type_u8(),
                code: icmp.code_u8(),
                rest: icmp.bytes5to8(),
                payload: icmp.payload().to_vec(),
            });
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let (IpAddr::V6(a), IpAddr::V6(b)) = (from, to) else {
                broken("ICMPv6 in IPv4")
            };
            if !icmp.is_checksum_valid(a.octets(), b.octets()) {
                broken("bad ICMPv6 checksum")
            }
            seen.icmp = Some(Icmp {
                kind: icmp.type_u8(),
                code: icmp.code_u8(),
                rest: icmp.bytes5to8(),
                payload: icmp.payload().to_vec(),
            });
        }
        Some(TransportSlice::Igmp(_)) | None => {}
    }
    seen
}
