//! ICMP and ICMPv6: errors that follow the flow they are about, echo to a VIP,
//! and the errors that we send ourselves.

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        flow::{FlowKey, NAT, Ports},
    },
    checksum, wire,
};

use crate::{
    classify::{self, Ours},
    clock,
    cursor::Cursor,
    family::{Family, IpHeader},
    flow::{self, Entry},
    half_open, maps,
    parse::{Datagram, Fragment, Packet},
    rewrite, slow,
};

/// An ICMP message.
#[inline(always)]
pub(crate) fn way<A: Family>(
    cursor: Cursor,
    datagram: &Datagram<A>,
    embedded: &mut Datagram<A>,
    packet: &mut Packet<A>,
) -> Result<u32, Verdict> {
    let header: &wire::Icmp = cursor.read(datagram.l4 as usize)?;
    let (kind, code) = (header.kind(), header.code());
    let ours = classify::address(datagram.destination);
    if ours == Ours::No {
        return Err(Verdict::NotOurs);
    }
    let echo = if A::V6 {
        wire::ICMPV6_ECHO
    } else {
        wire::ICMP_ECHO
    };
    if kind == echo && code == 0 && ours == Ours::Vip {
        return Err(answer_echo(cursor, datagram)?);
    }
    if is_error::<A>(kind) {
        return follow(cursor, datagram, embedded, packet);
    }
    Err(Verdict::IcmpNoFlow)
}

#[inline(always)]
fn is_error<A: Family>(kind: u8) -> bool {
    if A::V6 {
        matches!(
            kind,
            wire::ICMPV6_UNREACHABLE
                | wire::ICMPV6_TOO_BIG
                | wire::ICMPV6_TIME_EXCEEDED
                | wire::ICMPV6_PARAMETER_PROBLEM
        )
    } else {
        matches!(
            kind,
            wire::ICMP_UNREACHABLE | wire::ICMP_TIME_EXCEEDED | wire::ICMP_PARAMETER_PROBLEM
        )
    }
}

/// Turns an echo request into its reply.
#[inline(always)]
fn answer_echo<A: Family>(mut cursor: Cursor, datagram: &Datagram<A>) -> Result<Verdict, Verdict> {
    cursor.header::<wire::Ethernet>(0)?.turn();
    // The two addresses change places, which no sum notices.
    let ip = cursor.header::<A::Header>(datagram.l3 as usize)?;
    ip.readdress(datagram.destination, datagram.source, wire::HOPS);
    let reply = if A::V6 {
        wire::ICMPV6_ECHO_REPLY
    } else {
        wire::ICMP_ECHO_REPLY
    };
    let header = cursor.header::<wire::Icmp>(datagram.l4 as usize)?;
    let (old, new) = ([header.kind(), 0], [reply, 0]);
    let difference = checksum::difference(
        u16::from_ne_bytes(old) as u64,
        u16::from_ne_bytes(new) as u64,
        1,
    );
    header.set_checksum(checksum::updated(header.checksum(), difference));
    header.set_kind(reply);
    Ok(Verdict::Echo)
}

/// Sends an error on to the end whose packet it is about. Under nat the packet
/// in it is translated back to what that end sent.
///
/// A checksum of layer 4 in there is left as it is: who gets the error has only
/// the beginning of what it covers.
#[inline(always)]
fn follow<A: Family>(
    mut cursor: Cursor,
    datagram: &Datagram<A>,
    embedded: &mut Datagram<A>,
    packet: &mut Packet<A>,
) -> Result<u32, Verdict> {
    let l3 = datagram.l4 + wire::ICMP_LEN as u8;
    let ip: &A::Header = cursor.read(l3 as usize)?;
    ip.walk(&cursor, l3, embedded)?;
    if embedded.fragment == Fragment::Later
        || embedded.protocol != wire::TCP && embedded.protocol != wire::UDP
    {
        return Err(Verdict::IcmpNoFlow);
    }
    let ports = Ports(cursor.read::<wire::Word>(embedded.l4 as usize)?.value());
    // The error goes against the packet that it is about, and so with the
    // packets of the entry under the reversed tuple.
    *packet = Packet {
        l3: datagram.l3,
        l4: datagram.l4,
        key: FlowKey {
            source: embedded.destination,
            destination: embedded.source,
            ports: ports.swapped(),
            protocol: embedded.protocol as u32,
        },
        len: datagram.len,
        hops: cursor.read::<A::Header>(datagram.l3 as usize)?.hops_left(),
        has_l4: false,
        ..Packet::default()
    };
    let entry = Entry::established(&packet.key)
        .or_else(|| half_open::entry(&packet.key, clock::now()))
        .ok_or(Verdict::IcmpNoFlow)?;
    let backend = slow::backend_of(entry)?;
    if slow::is_disowned(entry, backend) {
        return Err(Verdict::IcmpNoFlow);
    }
    let index = entry.get(|f| f.backend);
    let len = packet.len;
    if entry.state() & NAT != 0 {
        translate_back(&mut cursor, datagram, embedded, entry, backend)?;
    }
    if entry.is_reply() {
        let action = rewrite::to_client(cursor, packet, entry)?;
        flow::count_out(index, len);
        return Ok(action);
    }
    let mode = rewrite::mode(backend.mode)?;
    if !rewrite::fits(packet, backend, mode) {
        return Err(Verdict::DropTooBig);
    }
    let action = rewrite::to_backend(cursor, packet, entry.target(), backend, mode)?;
    flow::count_in(index, len);
    Ok(action)
}

/// Undoes the translation in the packet that an error embeds, and mends the
/// error's own checksum.
#[inline(always)]
fn translate_back<A: Family>(
    cursor: &mut Cursor,
    datagram: &Datagram<A>,
    embedded: &Datagram<A>,
    entry: Entry<A>,
    backend: &Backend,
) -> Result<(), Verdict> {
    let (peer, ports) = entry.target();
    let (source, destination) = if entry.is_reply() {
        let listener = A::listeners()
            .get(entry.get(|f| f.listener) as u32)
            .ok_or(Verdict::DropInternal)?;
        (listener.address, peer)
    } else {
        (peer, A::from_words(backend.address))
    };
    let ip = cursor.header::<A::Header>(embedded.l3 as usize)?;
    let addresses = ip.readdress(destination, source, ip.hops_left());
    let word = cursor.header::<wire::Word>(embedded.l4 as usize)?;
    let old = word.value();
    word.set_value(ports.swapped().0);
    let mut difference = checksum::difference(old as u64, ports.swapped().0 as u64, 1);
    if !<A::Header as IpHeader>::HAS_CHECKSUM {
        // IPv6: the embedded addresses count as they are, and so do the outer
        // ones, by the pseudo-header. (An IPv4 header's own checksum makes up
        // for its addresses.)
        let outer = datagram.source.sum() + datagram.destination.sum();
        difference += addresses + checksum::difference(outer, source.sum() + destination.sum(), 8);
    }
    let header = cursor.header::<wire::Icmp>(datagram.l4 as usize)?;
    header.set_checksum(checksum::updated(header.checksum(), difference));
    Ok(())
}

/// Tells the sender that its packet is too big for the way to the backend.
#[inline(always)]
pub(crate) fn too_big<A: Family>(
    cursor: Cursor,
    packet: &Packet<A>,
    backend: &Backend,
    now: u32,
) -> Verdict {
    if !may_send(now) {
        return Verdict::DropTooBig;
    }
    let room = rewrite::room(backend);
    // IPv4 has the MTU in the lower half of the word (RFC 1191).
    let (kind, code) = if A::V6 {
        (wire::ICMPV6_TOO_BIG, 0)
    } else {
        (wire::ICMP_UNREACHABLE, wire::ICMP_CODE_FRAGMENTATION_NEEDED)
    };
    answer(cursor, packet, kind, code, room.to_be(), Verdict::TooBig)
}

/// Tells the sender that nobody takes its datagram.
#[inline(always)]
pub(crate) fn unreachable<A: Family>(
    cursor: Cursor,
    packet: &Packet<A>,
    verdict: Verdict,
) -> Verdict {
    let (kind, code) = if A::V6 {
        (wire::ICMPV6_UNREACHABLE, wire::ICMPV6_CODE_PORT)
    } else {
        (wire::ICMP_UNREACHABLE, wire::ICMP_CODE_PORT)
    };
    answer(cursor, packet, kind, code, 0, verdict)
}

/// Turns the packet into the error about it, and returns `verdict`. A later
/// fragment is never answered (RFC 1122, section 3.2.2).
#[inline(always)]
fn answer<A: Family>(
    cursor: Cursor,
    packet: &Packet<A>,
    kind: u8,
    code: u8,
    rest: u32,
    verdict: Verdict,
) -> Verdict {
    if !packet.has_l4 {
        return Verdict::DropFragment;
    }
    match build(cursor, packet, kind, code, rest) {
        Ok(()) => verdict,
        Err(failure) => failure,
    }
}

/// The most words that an error of ours embeds.
const MOST_WORDS: u32 = 48;

#[inline(always)]
fn build<A: Family>(
    cursor: Cursor,
    packet: &Packet<A>,
    kind: u8,
    code: u8,
    rest: u32,
) -> Result<(), Verdict> {
    let l3 = packet.l3 as usize;
    let grow = A::HEADER_LEN + wire::ICMP_LEN;
    // The headers and eight bytes of what follows.
    let embedded = packet.l4 as usize - l3 + wire::ICMP_EMBEDDED_LEN;
    let cursor = cursor.cut(l3 + embedded)?;
    let mut cursor = cursor.grow_front(grow as i32)?;

    let old: &wire::Ethernet = cursor.read(grow)?;
    let (macs, type_of) = ([old.macs_0(), old.macs_1(), old.macs_2()], old.kind());
    let ethernet = cursor.header::<wire::Ethernet>(0)?;
    ethernet.set_mac_words(macs);
    ethernet.set_kind(type_of);
    ethernet.turn();
    let mut at = wire::ETHERNET_LEN;
    for _ in 0..2 {
        if at >= l3 {
            break;
        }
        let tag = cursor.read::<wire::Word>(grow + at)?.value();
        cursor.header::<wire::Word>(at)?.set_value(tag);
        at += wire::VLAN_LEN;
    }

    let icmp = if A::V6 { wire::ICMPV6 } else { wire::ICMP };
    let len = (wire::ICMP_LEN + embedded) as u16;
    let (from, to) = (packet.key.destination, packet.key.source);
    A::begin(&mut cursor, l3, icmp, len, from, to)?;
    let l4 = l3 + A::HEADER_LEN;
    let header = cursor.header::<wire::Icmp>(l4)?;
    header.set_kind(kind);
    header.set_code(code);
    header.set_rest(rest);
    let mut sum = u16::from_ne_bytes([kind, code]) as u64 + rest as u64;
    if A::V6 {
        sum += from.sum() + to.sum() + (len.to_be() as u64) + (icmp as u16).to_be() as u64;
    }
    for word in 0..MOST_WORDS {
        let offset = word as usize * 4;
        if offset >= embedded {
            break;
        }
        sum += cursor
            .read::<wire::Word>(l4 + wire::ICMP_LEN + offset)?
            .value() as u64;
    }
    cursor
        .header::<wire::Icmp>(l4)?
        .set_checksum(!checksum::fold(sum));
    Ok(())
}

/// How many errors about too big packets a CPU sends in a second or so.
const MOST_PER_WINDOW: u32 = 1000;
/// The window in ticks, as a power of two: 2^10 ticks are 1.07 s.
const WINDOW_SHIFT: u32 = 10;

/// The errors sent in a window.
#[repr(C)]
pub(crate) struct Rate {
    window: u32,
    sent: u32,
}

#[inline(always)]
fn may_send(now: u32) -> bool {
    let Some(rate) = maps::ICMP_RATE.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: this CPU's own value; XDP is not preempted by itself.
    let rate = unsafe { &mut *rate };
    let window = now >> WINDOW_SHIFT;
    if rate.window != window {
        *rate = Rate { window, sent: 0 };
    }
    rate.sent += 1;
    rate.sent <= MOST_PER_WINDOW
}
