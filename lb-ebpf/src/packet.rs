//! A TCP or UDP packet: what the rest of the way needs to know of it.

use lb_common::{
    abi::{
        counter::Verdict,
        flow::{FlowKey, Ports},
    },
    tcp, wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Ip, IpHeader},
};

/// A TCP or UDP packet, found whole.
#[derive(Clone, Copy, Default)]
pub(crate) struct Packet<A> {
    /// Where the IP header and the header of layer 4 begin in the frame. Bytes,
    /// because the verifier then sees that they are small wherever they are
    /// used.
    pub(crate) l3: u8,
    pub(crate) l4: u8,
    pub(crate) key: FlowKey<A>,
    /// The length of the datagram with its IP header.
    pub(crate) len: u32,
    /// Time to live, or hop limit.
    pub(crate) hops: u8,
    /// False in a later fragment, which has no header of layer 4.
    pub(crate) has_l4: bool,
    /// TCP: what its header says; all zero for UDP.
    pub(crate) segment: tcp::Segment,
}

impl<A> Packet<A> {
    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        self.key.protocol == wire::TCP as u32
    }

    /// Has this flag, or one of these.
    #[inline(always)]
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.segment.has(flags)
    }

    /// The length of the headers, from that of IP to that of layer 4.
    #[inline(always)]
    pub(crate) fn headers_len(&self) -> u32 {
        if self.is_tcp() {
            self.len.wrapping_sub(self.segment.payload_len())
        } else {
            (self.l4 - self.l3) as u32 + wire::UDP_LEN as u32
        }
    }

    /// A SYN that opens: without ACK.
    #[inline(always)]
    pub(crate) fn opens(&self) -> bool {
        self.segment.flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
    }
}

/// Reads the header of layer 4 at `l4` of a datagram whose IP header is `ip`.
/// `whole` is false for a first fragment, whose payload goes on elsewhere.
///
/// False if it is neither TCP nor UDP.
#[inline(always)]
pub(crate) fn transport<H: Hook, A: Ip>(
    cursor: &Cursor<H>,
    ip: &A::Header,
    (l3, l4, protocol): (u8, u8, u8),
    whole: bool,
    packet: &mut Packet<A>,
) -> Result<bool, Verdict> {
    let len = ip.datagram_len();
    let end = l3 as usize + len;
    if end > cursor.frame_len() || l4 as usize > end {
        return Err(Verdict::Malformed);
    }
    let inside = end - l4 as usize;
    packet.l3 = l3;
    packet.l4 = l4;
    packet.key.source = ip.from();
    packet.key.destination = ip.to();
    packet.key.protocol = protocol as u32;
    packet.len = len as u32;
    packet.hops = ip.hops_left();
    packet.has_l4 = true;
    match protocol {
        wire::TCP => {
            let header: &wire::Tcp = cursor.read(l4 as usize)?;
            let header_len = (header.data_offset() >> 4) as usize * 4;
            if header_len < wire::TCP_LEN || header_len > inside {
                return Err(Verdict::Malformed);
            }
            packet.key.ports = Ports(header.ports());
            packet.segment = tcp::Segment::new(
                header.flags(),
                u32::from_be(header.seq()),
                (inside - header_len) as u32,
                u32::from_be(header.ack()),
            );
        }
        wire::UDP => {
            let header: &wire::Udp = cursor.read(l4 as usize)?;
            let udp_len = u16::from_be(header.length()) as usize;
            if udp_len < wire::UDP_LEN || whole && udp_len > inside {
                return Err(Verdict::Malformed);
            }
            packet.key.ports = Ports(header.ports());
            packet.segment = tcp::Segment::default();
        }
        _ => return Ok(false),
    }
    Ok(true)
}
