//! ICMP and ICMPv6: errors that follow the flow they are about, and echo to a VIP.

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        flow::{FRAGMENTS, FlowKey, HALF_OPEN, KEEPS_SOURCE, NAT, Ports, REPLY},
        rate::Kind,
    },
    checksum, tcp, wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Datagram, Fragment, Ip, IpHeader},
};

use super::{
    live::is_from_its_side,
    step::{Next, Step},
    tunnel,
};
use crate::{
    classify::{self, Ours},
    clock, exit,
    flow::Entry,
    half_open::{self, HalfOpen},
    icmp_error,
    packet::Packet,
    path, rate, rewrite,
    scratch::{Room, Scratch},
};

/// Decides about the message in the room. An error about a packet that was
/// translated is translated here.
#[inline(always)]
pub(crate) fn message<H: Hook, A: HalfOpen>(cursor: Cursor<H>, room: &mut Room<A>) -> Step {
    let datagram = &room.datagram;
    let header: &wire::Icmp = cursor.read(datagram.l4 as usize)?;
    let (kind, code) = (header.kind(), header.code());
    let told = u32::from_be(header.rest());
    let ours = classify::address(datagram.destination);
    // A tunnel may come from an address that is nobody's.
    if icmp_error::is_one::<A>(kind)
        && let Some(next) = tunnel::inside(&cursor, datagram)
    {
        return Ok(next);
    }
    let is_error = icmp_error::is_one::<A>(kind);
    // About a packet that kept its client's address, an error is to that.
    if ours == Ours::No && !(is_error && classify::some_keep_their_source()) {
        return Err(Verdict::NotOurs);
    }
    if classify::is_martian(datagram.source) {
        return Err(Verdict::DropMartian);
    }
    if is_error {
        let is_too_big = icmp_error::is_too_big::<A>(kind, code);
        return follow(cursor, room, ours == Ours::No, is_too_big, told);
    }
    let echo = if A::V6 {
        wire::ICMPV6_ECHO
    } else {
        wire::ICMP_ECHO
    };
    if kind == echo && code == 0 && ours == Ours::Vip {
        rate::limit(Kind::Echo, Verdict::DropLimited)?;
        return Err(answer_echo(cursor, datagram)?);
    }
    Err(Verdict::IcmpNoFlow)
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
///
/// `is_to_client`: it is to an address that is not ours.
///
/// `told`: the word with the MTU, if it is about a packet's length. No `Option`: what is in
/// one that is nothing the compiler would save without having written it, which the verifier
/// takes for a fault.
#[inline(always)]
fn follow<H: Hook, A: HalfOpen>(
    mut cursor: Cursor<H>,
    room: &mut Room<A>,
    is_to_client: bool,
    is_too_big: bool,
    told: u32,
) -> Step {
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
    let is_tcp = embedded.protocol == wire::TCP;
    let mut seq = 0;
    if is_tcp {
        let at = embedded.l4 as usize + size_of::<Ports>();
        seq = u32::from_be(cursor.read::<wire::Word>(at)?.value());
    }
    let now = clock::now();
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
        .or_else(|| half_open::handshake(&packet.key, now))
        .ok_or(Verdict::IcmpNoFlow)?;
    let backend = entry.backend()?;
    if is_to_client && entry.state() & KEEPS_SOURCE == 0 {
        return Err(Verdict::NotOurs);
    }
    if entry.is_disowned(backend) {
        return Err(Verdict::IcmpNoFlow);
    }
    exit::check::<H, A>(entry, backend)?;
    if !is_from_its_side(&cursor, entry, backend)
        || is_tcp && !is_about_a_lost_segment(entry, seq, packet, backend, scratch, now)?
    {
        return Err(Verdict::DropIcmp);
    }
    if is_too_big {
        let mtu = icmp_error::believed_mtu::<A>(told)?;
        if entry.state() & (NAT | REPLY | KEEPS_SOURCE) == NAT {
            path::note(&packet.key.source, mtu, now);
            if !has_to_be_told(entry) {
                let_fragments(entry, packet, backend, scratch)?;
                return Err(Verdict::DropPathMtu);
            }
        }
    }
    if !rewrite::lives_on(packet) {
        return Err(Verdict::DropTtl);
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

/// Whether the receiver of the error may have sent the segment that it is about, and
/// waits for it to be acknowledged.
#[inline(always)]
fn is_about_a_lost_segment<A: HalfOpen>(
    entry: Entry<A>,
    seq: u32,
    packet: &Packet<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<bool, Verdict> {
    let acknowledged = entry.numbers().ack;
    if acknowledged != 0 {
        return Ok(tcp::is_lost(seq, acknowledged));
    }
    // Nothing is acknowledged yet: it is about a SYN, which only nat sees of both ends.
    if entry.state() & NAT == 0 {
        return Ok(false);
    }
    entry.other_key(&packet.key, backend, &mut scratch.other)?;
    let other = half_open::entry(&scratch.other, now);
    Ok(other.is_some_and(|other| other.numbers().seq == seq.wrapping_add(1)))
}

/// Whether the backend has to hear of its client's path: routers do not fragment IPv6,
/// and an open flow would hang.
#[inline(always)]
fn has_to_be_told<A: HalfOpen>(entry: Entry<A>) -> bool {
    A::V6 && entry.state() & (HALF_OPEN | tcp::CLOSED) == 0
}

/// Lets routers fragment what an open flow has agreed on, which is too long for the
/// client's path.
#[inline(always)]
fn let_fragments<A: HalfOpen>(
    entry: Entry<A>,
    packet: &Packet<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
) -> Result<(), Verdict> {
    if A::V6 || entry.state() & (HALF_OPEN | tcp::CLOSED) != 0 {
        return Ok(());
    }
    entry.other_key(&packet.key, backend, &mut scratch.other)?;
    if let Some(reply) = Entry::established(&scratch.other) {
        reply.add_state(FRAGMENTS);
    }
    Ok(())
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
