//! ICMP and ICMPv6: errors that follow the flow they are about, and echo to a VIP.

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        flow::{FlowKey, NAT, Ports},
    },
    checksum, wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Datagram, Fragment, Ip, IpHeader},
};

use super::step::{Next, Step};
use crate::{
    classify::{self, Ours},
    clock,
    flow::Entry,
    half_open::{self, HalfOpen},
    packet::Packet,
    rewrite,
    scratch::Room,
};

/// Decides about the message in the room. An error about a packet that was
/// translated is translated here.
#[inline(always)]
pub(crate) fn message<H: Hook, A: HalfOpen>(cursor: Cursor<H>, room: &mut Room<A>) -> Step {
    let datagram = &room.datagram;
    let header: &wire::Icmp = cursor.read(datagram.l4 as usize)?;
    let (kind, code) = (header.kind(), header.code());
    let ours = classify::address(datagram.destination);
    if ours == Ours::No {
        return Err(Verdict::NotOurs);
    }
    if classify::is_martian(datagram.source) {
        return Err(Verdict::DropMartian);
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
        return follow(cursor, room);
    }
    Err(Verdict::IcmpNoFlow)
}

#[inline(always)]
fn is_error<A: Ip>(kind: u8) -> bool {
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
fn answer_echo<H: Hook, A: Ip>(
    mut cursor: Cursor<H>,
    datagram: &Datagram<A>,
) -> Result<Verdict, Verdict> {
    cursor.header::<wire::Ethernet>(0)?.turn();
    // The two addresses change places, which no sum notices.
    let ip = cursor.header::<A::Header>(datagram.l3 as usize)?;
    ip.readdress(datagram.destination, datagram.source, wire::HOPS);
    let reply = if A::V6 {
        wire::ICMPV6_ECHO_REPLY
    } else {
        wire::ICMP_ECHO_REPLY
    };
    let l4 = datagram.l4 as usize;
    let header = cursor.header::<wire::Icmp>(l4)?;
    let (old, new) = ([header.kind(), 0], [reply, 0]);
    header.set_kind(reply);
    let own = checksum::difference(
        u16::from_ne_bytes(old) as u64,
        u16::from_ne_bytes(new) as u64,
        1,
    );
    cursor.mend::<wire::Icmp>(l4, 0, own)?;
    Ok(Verdict::Echo)
}

/// Sends an error on to the end whose packet it is about. Under nat the packet
/// in it is translated back to what that end sent.
///
/// A checksum of layer 4 in there is left as it is: who gets the error has only
/// the beginning of what it covers.
#[inline(always)]
fn follow<H: Hook, A: HalfOpen>(mut cursor: Cursor<H>, room: &mut Room<A>) -> Step {
    let Room {
        datagram,
        embedded,
        packet,
        scratch,
        ..
    } = room;
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
        .or_else(|| half_open::handshake(&packet.key, clock::now()))
        .ok_or(Verdict::IcmpNoFlow)?;
    let backend = entry.backend()?;
    if entry.is_disowned(backend) {
        return Err(Verdict::IcmpNoFlow);
    }
    if !entry.is_reply() {
        let mode = rewrite::mode(backend.mode)?;
        if !rewrite::fits(&cursor, packet, backend, mode) {
            return Err(Verdict::DropTooBig);
        }
    }
    if entry.state() & NAT != 0 {
        translate_back(&mut cursor, datagram, embedded, entry, backend)?;
    }
    scratch.value = entry.get(|f| *f);
    Ok(Next::Send)
}

/// Undoes the translation in the packet that an error embeds, and mends the
/// error's own checksum.
#[inline(always)]
fn translate_back<H: Hook, A: HalfOpen>(
    cursor: &mut Cursor<H>,
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
    let mut own = checksum::difference(old as u64, ports.swapped().0 as u64, 1);
    let mut pseudo = 0;
    if !<A::Header as IpHeader>::HAS_CHECKSUM {
        // IPv6: the embedded addresses count as they are, and so do the outer
        // ones, by the pseudo-header. (An IPv4 header's own checksum makes up
        // for its addresses.)
        let outer = datagram.source.sum() + datagram.destination.sum();
        own += addresses;
        pseudo = checksum::difference(outer, source.sum() + destination.sum(), 8);
    }
    cursor.mend::<wire::Icmp>(datagram.l4 as usize, pseudo, own)
}
