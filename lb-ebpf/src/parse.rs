//! From bytes to a [`Packet`]: what the rest of the way needs to know.

use lb_common::{
    abi::{
        counter::Verdict,
        flow::{FlowKey, Ports},
        fragment::{FRAGMENT_TICKS, FragmentKey, FragmentPorts},
    },
    tcp, wire,
};

use aya_ebpf::bindings::BPF_ANY;

use crate::{
    classify, clock,
    cursor::Cursor,
    family::{Family, IpHeader},
    fast,
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
    /// The flags of a TCP header; 0 for UDP.
    pub(crate) flags: u8,
    /// False in a later fragment, which has no header of layer 4.
    pub(crate) has_l4: bool,
    /// TCP: the first sequence number of the segment, the one that follows its
    /// last, and the acknowledgement number.
    pub(crate) seq: u32,
    pub(crate) next_seq: u32,
    pub(crate) ack: u32,
}

impl<A> Packet<A> {
    #[inline(always)]
    pub(crate) fn is_tcp(&self) -> bool {
        self.key.protocol == wire::TCP as u32
    }

    /// Has this flag, or one of these.
    #[inline(always)]
    pub(crate) fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }

    /// A SYN that opens: without ACK.
    #[inline(always)]
    pub(crate) fn opens(&self) -> bool {
        self.flags & (tcp::SYN | tcp::ACK | tcp::RST | tcp::FIN) == tcp::SYN
    }
}

/// Reads the header of layer 4 at `l4` of a datagram whose IP header is `ip`.
/// `whole` is false for a first fragment, whose payload goes on elsewhere.
///
/// False if it is neither TCP nor UDP.
#[inline(always)]
pub(crate) fn transport<A: Family>(
    cursor: &Cursor,
    ip: &A::Header,
    (l3, l4, protocol): (u8, u8, u8),
    whole: bool,
    packet: &mut Packet<A>,
) -> Result<bool, Verdict> {
    let len = ip.datagram_len();
    let end = l3 as usize + len;
    if end > cursor.len() || l4 as usize > end {
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
            packet.flags = header.flags();
            packet.seq = u32::from_be(header.seq());
            packet.ack = u32::from_be(header.ack());
            // SYN and FIN take a sequence number each (RFC 9293, section 3.4).
            let marks = packet.has(tcp::SYN) as u32 + packet.has(tcp::FIN) as u32;
            packet.next_seq = packet
                .seq
                .wrapping_add((inside - header_len) as u32)
                .wrapping_add(marks);
        }
        wire::UDP => {
            let header: &wire::Udp = cursor.read(l4 as usize)?;
            let udp_len = u16::from_be(header.length()) as usize;
            if udp_len < wire::UDP_LEN || whole && udp_len > inside {
                return Err(Verdict::Malformed);
            }
            packet.key.ports = Ports(header.ports());
            packet.flags = 0;
            packet.seq = 0;
            packet.next_seq = 0;
            packet.ack = 0;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

/// A datagram of any shape, with the headers before its payload read.
#[derive(Clone, Copy, Default)]
pub(crate) struct Datagram<A> {
    pub(crate) l3: u8,
    pub(crate) l4: u8,
    pub(crate) protocol: u8,
    pub(crate) fragment: Fragment,
    /// The identification that its fragments share.
    pub(crate) id: u32,
    pub(crate) len: u32,
    pub(crate) source: A,
    pub(crate) destination: A,
}

/// Which fragment it is of its datagram.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Fragment {
    #[default]
    Whole,
    First,
    Later,
}

/// What a datagram turned out to be.
pub(crate) enum Found {
    /// TCP or UDP: the packet is filled in.
    Transport,
    /// ICMP, or ICMPv6 in IPv6.
    Icmp,
    Other,
}

/// Where the IP header begins, behind at most two VLAN tags, and its EtherType.
#[inline(always)]
pub(crate) fn link(cursor: &Cursor) -> Result<(u8, u16), Verdict> {
    let mut kind = cursor.read::<wire::Ethernet>(0)?.kind();
    let mut l3 = wire::ETHERNET_LEN as u8;
    for _ in 0..2 {
        if kind != wire::ETHERTYPE_VLAN && kind != wire::ETHERTYPE_QINQ {
            break;
        }
        kind = cursor.read::<wire::Vlan>(l3 as usize)?.kind();
        l3 += wire::VLAN_LEN as u8;
    }
    Ok((l3, kind))
}

/// Reads a packet of any shape that the fast way does not take.
#[inline(always)]
pub(crate) fn datagram<A: Family>(
    cursor: &Cursor,
    datagram: &mut Datagram<A>,
    packet: &mut Packet<A>,
    key: &mut FragmentKey<A>,
) -> Result<Found, Verdict> {
    let (l3, _) = link(cursor)?;
    let ip: &A::Header = cursor.read(l3 as usize)?;
    ip.walk(cursor, l3, datagram)?;
    let end = l3 as usize + datagram.len as usize;
    if end > cursor.len() || datagram.l4 as usize > end {
        return Err(Verdict::Malformed);
    }
    let protocol = datagram.protocol;
    if protocol != wire::TCP && protocol != wire::UDP {
        let icmp = if A::V6 { wire::ICMPV6 } else { wire::ICMP };
        let is_icmp = protocol == icmp && datagram.fragment == Fragment::Whole;
        return Ok(if is_icmp { Found::Icmp } else { Found::Other });
    }
    let place = (l3, datagram.l4, protocol);
    if datagram.fragment == Fragment::Whole {
        transport(cursor, ip, place, true, packet)?;
        return Ok(Found::Transport);
    }
    if !fast::maybe_ours(datagram.destination) {
        return Err(Verdict::NotOurs);
    }
    *key = FragmentKey {
        source: datagram.source,
        destination: datagram.destination,
        id: datagram.id,
        protocol: protocol as u32,
    };
    let now = clock::now();
    if datagram.fragment == Fragment::First {
        transport(cursor, ip, place, false, packet)?;
        let value = FragmentPorts {
            ports: packet.key.ports,
            seen: now,
        };
        // A full table evicts: the oldest datagram loses its tail.
        let _ = A::fragments().insert(&*key, &value, BPF_ANY as u64);
        return Ok(Found::Transport);
    }
    // SAFETY: copied at once.
    let known = unsafe { A::fragments().get(&*key) }.copied();
    match known {
        Some(first) if now.wrapping_sub(first.seen) <= FRAGMENT_TICKS => {
            *packet = Packet {
                l3,
                l4: datagram.l4,
                key: FlowKey {
                    source: datagram.source,
                    destination: datagram.destination,
                    ports: first.ports,
                    protocol: protocol as u32,
                },
                len: datagram.len,
                hops: ip.hops_left(),
                flags: 0,
                has_l4: false,
                seq: 0,
                next_seq: 0,
                ack: 0,
            };
            Ok(Found::Transport)
        }
        _ => Err(match classify::address(datagram.destination) {
            classify::Ours::Vip => Verdict::DropFragment,
            _ => Verdict::NotOurs,
        }),
    }
}
