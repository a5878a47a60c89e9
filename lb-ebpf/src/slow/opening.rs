//! A packet of a handshake, or of a conversation not yet answered.

use lb_common::{
    abi::{
        backend::{Backend, TAKES_NEW, over_share},
        counter::Verdict,
        flow::{ADOPTED, ANSWERED, Flow, FlowKey, HALF_OPEN, NAT, PROVEN_AFTER, REPLY, TIME_WAIT},
        nat_port::Class,
    },
    tcp,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::{
    live::{forward, is_from_its_side, live},
    refuse,
    step::Next,
};
use crate::{
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    maps, nat_port,
    packet::Packet,
    scratch::Scratch,
};

/// A packet of a half-open flow. `None` if it has nothing to do with the handshake,
/// which was abandoned.
#[inline(always)]
pub(crate) fn opening<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<Option<Next>, Verdict> {
    let meaning = if packet.has_l4 && is_from_its_side(cursor, entry, backend) {
        handshake(packet, entry, backend, scratch, now)?
    } else {
        Meaning::Unknown
    };
    match meaning {
        Meaning::New => return Ok(None),
        Meaning::None => {
            return refuse::reset(packet, &mut scratch.answer, Verdict::ResetNoFlow).map(Some);
        }
        Meaning::Proof => {
            if let Some(entry) = promote(packet, entry, backend, scratch, now)? {
                return live(cursor, packet, entry, backend, scratch, now).map(Some);
            }
            if entry.state() & NAT != 0 {
                let answer = &mut scratch.answer;
                let (tcp, udp) = (Verdict::ResetFull, Verdict::UnreachableFull);
                return refuse::refuse(packet, answer, tcp, udp).map(Some);
            }
            // No room: it goes by the half-open entry, and once that is evicted by the
            // Maglev table.
            flow::count(entry.get(|f| f.backend), |row| row.untracked += 1);
        }
        Meaning::Unknown | Meaning::Part | Meaning::Last => {}
    }
    let believed = meaning != Meaning::Unknown;
    let next = forward(cursor, packet, entry, backend, scratch, now, believed)?;
    // Who is only answered has ended nothing.
    if meaning == Meaning::Last && next == Next::Send {
        forget(entry, packet, backend, scratch, now)?;
    }
    Ok(Some(next))
}

/// What a packet means to a half-open flow.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// On its way, for its receiver to judge; the flow does not follow it.
    Unknown,
    /// On its way; the flow stays half-open.
    Part,
    /// The last of the flow: on its way, and the flow is forgotten.
    Last,
    /// It proves the flow, which is established, if there is room.
    Proof,
    /// No part of this handshake: refused.
    None,
    /// As if no flow knew it: the handshake was abandoned.
    New,
}

#[inline(always)]
fn handshake<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<Meaning, Verdict> {
    let nat = entry.state() & NAT != 0;
    let mut other = None;
    if nat {
        entry.other_key(&packet.key, backend, &mut scratch.other)?;
        other = half_open::entry(&scratch.other, now).filter(|other| other.is_of(entry));
    }
    let meaning = if !packet.is_tcp() {
        conversation(entry, now)
    } else if entry.is_reply() {
        answer(packet, entry, other)
    } else if packet.has(tcp::RST) {
        if entry.has_sent(packet.segment.seq) {
            Meaning::Last
        } else {
            Meaning::Unknown
        }
    } else if packet.opens() {
        again(packet, entry, other, backend)
    } else {
        acknowledgement(packet, entry, other, now)
    };
    if meaning == Meaning::Part && nat && !entry.is_reply() && other.is_none() {
        mend_reply(packet, entry, scratch, now)?;
    }
    Ok(meaning)
}

/// A datagram (UDP). Any answer at all proves a conversation; where answers are not
/// seen, that it goes on.
#[inline(always)]
fn conversation<A: HalfOpen>(entry: Entry<A>, now: u32) -> Meaning {
    let talks = if entry.state() & NAT != 0 {
        entry.is_reply()
    } else {
        has_gone_on(entry, now)
    };
    if talks { Meaning::Proof } else { Meaning::Part }
}

/// The backend's answer to a SYN, or what follows it before the client has spoken.
#[inline(always)]
fn answer<A: HalfOpen>(packet: &Packet<A>, entry: Entry<A>, forward: Option<Entry<A>>) -> Meaning {
    let tcp::Segment {
        seq, next_seq, ack, ..
    } = packet.segment;
    let answered = entry.state() & ANSWERED != 0;
    let answers = packet.has(tcp::ACK) && forward.is_some_and(|forward| forward.has_sent(ack));
    if packet.has(tcp::RST) {
        return if answers || answered && seq == entry.numbers().seq {
            Meaning::Last
        } else {
            Meaning::Unknown
        };
    }
    if packet.has(tcp::SYN) {
        if !answers {
            return Meaning::Unknown;
        }
        entry.set_numbers(tcp::Numbers { seq: next_seq, ack });
        if entry.add_state(ANSWERED) & ANSWERED == 0 && entry.state() & NAT != 0 {
            nat_port::put(entry.state(), &packet.key, Class::Answered);
        }
        return Meaning::Part;
    }
    if answered && entry.fits(packet) {
        return Meaning::Part;
    }
    if !answered
        && packet.has(tcp::ACK)
        && let Some(forward) = forward
    {
        // Of an earlier connection on this port, which no RST has ended. The client ends it
        // in its turn, or its next SYN goes by another port.
        forward.add_state(TIME_WAIT);
    }
    Meaning::Unknown
}

/// A SYN on a flow that is half-open already. It goes where the first one went if
/// that backend takes new flows still; if not, only when it is the same one again,
/// and was answered: the client may just not have heard that (P1).
#[inline(always)]
fn again<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    reply: Option<Entry<A>>,
    backend: &Backend,
) -> Meaning {
    let answered = reply.is_some_and(|reply| reply.state() & ANSWERED != 0);
    let same = entry.has_sent(packet.segment.next_seq);
    let stays = backend.flags & TAKES_NEW != 0 || same && answered;
    let is_stuck = entry.state() & TIME_WAIT != 0 && !answered;
    if entry.state() & ADOPTED != 0 || !stays || is_stuck {
        return Meaning::New;
    }
    if same {
        return Meaning::Part;
    }
    if answered {
        return Meaning::Unknown;
    }
    entry.restart(packet);
    Meaning::Part
}

/// What follows the client's SYN. In nat an acknowledgement proves that the client has
/// seen the backend's SYN-ACK, and perhaps what followed it: a forged one has to guess
/// the number.
#[inline(always)]
fn acknowledgement<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    reply: Option<Entry<A>>,
    now: u32,
) -> Meaning {
    if !packet.has(tcp::ACK) {
        return Meaning::None;
    }
    let fits = entry.fits(packet);
    if entry.state() & NAT != 0 {
        let seen = reply.is_some_and(|reply| {
            reply.state() & ANSWERED != 0 && reply.has_sent(packet.segment.ack)
        });
        return if fits && seen {
            Meaning::Proof
        } else {
            Meaning::None
        };
    }
    if !fits {
        // The SYN may have been somebody else's: then it is as if none was seen.
        Meaning::New
    } else if entry.state() & ADOPTED != 0 && !has_gone_on(entry, now) {
        Meaning::Part
    } else {
        Meaning::Proof
    }
}

#[inline(always)]
fn has_gone_on<A: HalfOpen>(entry: Entry<A>, now: u32) -> bool {
    now.wrapping_sub(entry.get(|f| f.born)) >= PROVEN_AFTER
}

/// The two halves of a half-open nat flow are evicted apart; a packet of the
/// client brings a lost reply entry back, under the key in `scratch`. Unless another flow
/// has the port by now: then this one is over, and the client's next SYN begins anew.
#[inline(always)]
fn mend_reply<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<(), Verdict> {
    entry.get(|f| write_reply(f, packet, &mut scratch.reply));
    if Entry::established(&scratch.other).is_none()
        && half_open::put_new(&scratch.other, &scratch.reply, now)
    {
        nat_port::put(entry.state(), &scratch.other, Class::Unanswered);
        return Ok(());
    }
    half_open::remove(&packet.key, now);
    Err(Verdict::DropInternal)
}

/// Writes the reply entry that belongs to a forward one.
#[inline(always)]
pub(crate) fn write_reply<A: HalfOpen>(forward: &Flow<A>, packet: &Packet<A>, reply: &mut Flow<A>) {
    // SAFETY: a reference is valid.
    unsafe { flow::copy(forward, reply) };
    reply.peer = packet.key.source;
    reply.ports = packet.key.ports.swapped();
    reply.state |= REPLY;
    reply.seq = 0;
    reply.ack = 0;
    reply.bytes = 0;
}

/// From the half-open table to the established one. `None` if there is no room for it.
///
/// What goes over are copies that nobody else wrote to meanwhile: under a flood, an
/// entry may be taken over by another flow at any time.
#[inline(always)]
fn promote<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<Option<Entry<A>>, Verdict> {
    // What little room is left is for load balancers that have less than their share.
    let lb = maps::LBS.get(backend.lb as u32);
    if lb.is_some_and(|lb| lb.over_share & over_share(A::V6) != 0) {
        return Ok(None);
    }
    let nat = entry.state() & NAT != 0;
    if nat {
        entry.other_key(&packet.key, backend, &mut scratch.other)?;
        if !half_open::read(&scratch.other, now, &mut scratch.reply) {
            return Err(Verdict::DropInternal);
        }
        scratch.reply.state &= !(HALF_OPEN | TIME_WAIT);
    }
    if !half_open::read(&packet.key, now, &mut scratch.value) {
        return Err(Verdict::DropInternal);
    }
    scratch.value.state &= !(HALF_OPEN | TIME_WAIT);
    if nat && !flow::establish(&scratch.other, &scratch.reply) {
        return Ok(None);
    }
    if !flow::establish(&packet.key, &scratch.value) {
        if nat {
            let _ = A::flows().remove(&scratch.other);
        }
        return Ok(None);
    }
    if nat {
        let from_backend = scratch.value.state & REPLY != 0;
        let (reply_key, reply) = if from_backend {
            (&packet.key, &scratch.value)
        } else {
            (&scratch.other, &scratch.reply)
        };
        // A new flow may have taken the port since the entries were copied: one of the
        // two sees the other.
        if !is_still(reply_key, reply, now) {
            let _ = A::flows().remove(&packet.key);
            let _ = A::flows().remove(&scratch.other);
            return Err(Verdict::DropInternal);
        }
        // The client of a conversation has sent one datagram so far, and may be nobody.
        let class = if packet.is_tcp() {
            Class::Open
        } else {
            Class::Answered
        };
        nat_port::put(scratch.value.state, reply_key, class);
        half_open::remove(&scratch.other, now);
    }
    flow::count(scratch.value.backend, |row| row.opened += 1);
    half_open::remove(&packet.key, now);
    Ok(Entry::established(&packet.key))
}

/// Whether the half-open table has this very entry.
#[inline(always)]
fn is_still<A: HalfOpen>(key: &FlowKey<A>, flow: &Flow<A>, now: u32) -> bool {
    half_open::entry(key, now)
        .is_some_and(|entry| entry.born() == flow.born && entry.target() == (flow.peer, flow.ports))
}

/// Takes a half-open flow out of its table.
#[inline(always)]
pub(crate) fn forget<A: HalfOpen>(
    entry: Entry<A>,
    packet: &Packet<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<(), Verdict> {
    if entry.state() & NAT != 0 {
        entry.other_key(&packet.key, backend, &mut scratch.other)?;
        let is_reply = entry.is_reply();
        if half_open::entry(&scratch.other, now).is_some_and(|other| other.is_of(entry)) {
            half_open::remove(&scratch.other, now);
            let reply_key = if is_reply {
                &packet.key
            } else {
                &scratch.other
            };
            nat_port::put(entry.state(), reply_key, Class::Free);
        }
    }
    half_open::remove(&packet.key, now);
    Ok(())
}
