//! From bytes to a [`Packet`], whatever shape the datagram has.

use aya_ebpf::bindings::BPF_ANY;
use lb_common::{
    abi::{
        counter::Verdict,
        flow::FlowKey,
        fragment::{FRAGMENT_TICKS, FragmentKey, FragmentPorts},
    },
    tcp, wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{self, Datagram, Fragment, IpHeader},
};

use crate::{
    classify, clock,
    family::Family,
    packet::{Packet, transport},
};

/// What a datagram turned out to be.
pub(crate) enum Found {
    /// TCP or UDP: the packet is filled in.
    Transport,
    /// ICMP, or ICMPv6 in IPv6.
    Icmp,
    Other,
}

/// Reads a packet of any shape that the hit path does not take.
#[inline(always)]
pub(crate) fn datagram<H: Hook, A: Family>(
    cursor: &Cursor<H>,
    datagram: &mut Datagram<A>,
    packet: &mut Packet<A>,
    key: &mut FragmentKey<A>,
) -> Result<Found, Verdict> {
    let (l3, _) = ip::link(cursor)?;
    let ip: &A::Header = cursor.read(l3 as usize)?;
    ip.walk(cursor, l3, datagram)?;
    let end = l3 as usize + datagram.len as usize;
    if end > cursor.frame_len() || datagram.l4 as usize > end {
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
    if !classify::maybe_ours(datagram.destination) {
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
                has_l4: false,
                segment: tcp::Segment::default(),
            };
            Ok(Found::Transport)
        }
        _ => Err(match classify::address(datagram.destination) {
            classify::Ours::Vip => Verdict::DropFragment,
            _ => Verdict::NotOurs,
        }),
    }
}
