//! The packets that are measured: small ones, where the balancer's own cost
//! shows most.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, bail, ensure};
use etherparse::{
    Ethernet2Slice, Ipv4Header, LinkSlice, NetSlice, PacketBuilder, SlicedPacket, TcpSlice,
    TransportSlice,
};

pub(crate) type Mac = [u8; 6];

pub(crate) const SYN: u8 = 2;
pub(crate) const ACK: u8 = 16;

/// What a packet carries, and from whom to whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends {
    pub(crate) macs: (Mac, Mac),
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

const PAYLOAD: [u8; 10] = [0x5A; 10];

macro_rules! headers {
    ($ends:expr) => {{
        let ethernet = PacketBuilder::ethernet2($ends.macs.0, $ends.macs.1);
        match ($ends.from.ip(), $ends.to.ip()) {
            (IpAddr::V4(a), IpAddr::V4(b)) => ethernet.ipv4(a.octets(), b.octets(), 64),
            (IpAddr::V6(a), IpAddr::V6(b)) => ethernet.ipv6(a.octets(), b.octets(), 64),
            _ => bail!("{:?} are not of one family", $ends),
        }
    }};
}

/// A TCP segment; one with a SYN carries nothing.
pub(crate) fn tcp(ends: Ends, flags: u8, seq: u32, ack: u32) -> Result<Vec<u8>> {
    let mut step = headers!(ends).tcp(ends.from.port(), ends.to.port(), seq, 64_000);
    if flags & SYN != 0 {
        step = step.syn();
    }
    if flags & ACK != 0 {
        step = step.ack(ack);
    }
    let payload: &[u8] = if flags & SYN != 0 { &[] } else { &PAYLOAD };
    let mut frame = Vec::new();
    step.write(&mut frame, payload)?;
    Ok(frame)
}

/// A UDP datagram.
pub(crate) fn udp(ends: Ends) -> Result<Vec<u8>> {
    let mut frame = Vec::new();
    headers!(ends)
        .udp(ends.from.port(), ends.to.port())
        .write(&mut frame, &PAYLOAD)?;
    Ok(frame)
}

/// Where an IPv4 TCP frame says that it comes from and goes to; an error if one
/// of its checksums is wrong.
pub(crate) fn ends_of_tcp4(frame: &[u8]) -> Result<Ends> {
    let (link, ip, tcp) = headers_of_tcp4(frame)?;
    let (header, payload) = (tcp.to_header(), tcp.payload());
    ensure!(
        ip.header_checksum == ip.calc_header_checksum(),
        "the IPv4 checksum is wrong: {frame:02x?}"
    );
    let right = header.calc_checksum_ipv4_raw(ip.source, ip.destination, payload)?;
    ensure!(
        right == header.checksum,
        "the TCP checksum is wrong: {frame:02x?}"
    );
    Ok(ends((link, ip, tcp)))
}

/// As [`ends_of_tcp4`], whatever the checksums are: those of packets in rotation were
/// wrong before.
pub(crate) fn ends_of_rotated(frame: &[u8]) -> Result<Ends> {
    headers_of_tcp4(frame).map(ends)
}

type Headers<'a> = (Ethernet2Slice<'a>, Ipv4Header, TcpSlice<'a>);

fn headers_of_tcp4(frame: &[u8]) -> Result<Headers<'_>> {
    let packet = SlicedPacket::from_ethernet(frame).context("not a packet")?;
    let (Some(LinkSlice::Ethernet2(link)), Some(NetSlice::Ipv4(ip))) = (&packet.link, &packet.net)
    else {
        bail!("not IPv4: {frame:02x?}");
    };
    let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
        bail!("not TCP: {frame:02x?}");
    };
    Ok((link.clone(), ip.header().to_header(), tcp.clone()))
}

fn ends((link, ip, tcp): Headers<'_>) -> Ends {
    Ends {
        macs: (link.source(), link.destination()),
        from: SocketAddr::new(ip.source.into(), tcp.source_port()),
        to: SocketAddr::new(ip.destination.into(), tcp.destination_port()),
    }
}

/// The frame as it is when a router has taken a hop of it.
pub(crate) fn one_hop_later(frame: &[u8]) -> Result<Vec<u8>> {
    let mut out = frame.to_vec();
    if frame[12..14] == [0x86, 0xDD] {
        out[14 + 7] -= 1;
    } else {
        let (mut header, _) = Ipv4Header::from_slice(&frame[14..])?;
        header.time_to_live -= 1;
        out[14 + 8] = header.time_to_live;
        out[14 + 10..14 + 12].copy_from_slice(&header.calc_header_checksum().to_be_bytes());
    }
    Ok(out)
}
