//! A packet of a handshake, or of a conversation not yet answered.

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        flow::{ADOPTED, ANSWERED, Flow, HALF_OPEN, NAT, PROVEN_AFTER, REPLY},
    },
    tcp,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::{
    live::{forward, live},
    refuse,
    step::Step,
};
use crate::{
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    packet::Packet,
    scratch::Scratch,
};

/// A packet of a half-open flow.
#[inline(always)]
pub(crate) fn opening<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Step {
    match handshake(packet, entry, backend, scratch, now)? {
        Meaning::Forward => forward(cursor, packet, entry, backend, scratch, now),
        Meaning::Last => {
            let next = forward(cursor, packet, entry, backend, scratch, now)?;
            forget(entry, packet, backend, scratch, now)?;
            Ok(next)
        }
        Meaning::Proof => match promote(packet, entry, backend, scratch, now)? {
            Some(entry) => live(cursor, packet, entry, backend, scratch, now),
            None => refuse::refuse(
                packet,
                &mut scratch.answer,
                Verdict::ResetFull,
                Verdict::UnreachableFull,
            ),
        },
        Meaning::None => refuse::reset(packet, &mut scratch.answer, Verdict::ResetNoFlow),
    }
}

/// What a packet means to a half-open flow.
enum Meaning {
    /// On its way; the flow stays half-open.
    Forward,
    /// The last of the flow: on its way, and the flow is forgotten.
    Last,
    /// It proves the flow, which is established.
    Proof,
    /// No part of this handshake.
    None,
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
    if !packet.has_l4 {
        return Ok(Meaning::Forward);
    }
    if packet.has(tcp::RST) {
        return Ok(Meaning::Last);
    }
    if entry.is_reply() {
        // A SYN-ACK, or what follows it before the client has spoken; any
        // answer at all, for UDP.
        if packet.has(tcp::SYN) {
            entry.add_state(ANSWERED);
        }
        return Ok(if packet.is_tcp() {
            Meaning::Forward
        } else {
            Meaning::Proof
        });
    }
    if packet.is_tcp() && !packet.opens() {
        let proven = if nat {
            acknowledges_answer(packet, entry, backend, scratch, now)?
        } else if entry.state() & ADOPTED != 0 && !has_gone_on(entry, now) {
            return Ok(Meaning::Forward);
        } else {
            packet.has(tcp::ACK)
        };
        return Ok(if proven {
            Meaning::Proof
        } else {
            Meaning::None
        });
    }
    if nat {
        mend_reply(packet, entry, backend, scratch, now)?;
        return Ok(Meaning::Forward);
    }
    let talks = !packet.is_tcp() && has_gone_on(entry, now);
    Ok(if talks {
        Meaning::Proof
    } else {
        Meaning::Forward
    })
}

#[inline(always)]
fn has_gone_on<A: HalfOpen>(entry: Entry<A>, now: u32) -> bool {
    now.wrapping_sub(entry.get(|f| f.born)) >= PROVEN_AFTER
}

/// The client's ACK proves that it has seen the backend's SYN-ACK: a forged one
/// has to guess the number.
#[inline(always)]
fn acknowledges_answer<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<bool, Verdict> {
    entry.other_key(&packet.key, backend, &mut scratch.other)?;
    Ok(half_open::entry(&scratch.other, now).is_some_and(|reply| {
        let behind = reply.get(|f| f.seq).wrapping_sub(packet.ack);
        packet.has(tcp::ACK) && reply.state() & ANSWERED != 0 && behind < 0x1_0000
    }))
}

/// The two halves of a half-open nat flow are evicted apart; a packet of the
/// client brings a lost reply entry back.
#[inline(always)]
fn mend_reply<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<(), Verdict> {
    entry.other_key(&packet.key, backend, &mut scratch.other)?;
    if half_open::entry(&scratch.other, now).is_none() {
        entry.get(|f| write_reply(f, packet, &mut scratch.reply));
        if !half_open::put(&scratch.other, &scratch.reply, now) {
            return Err(Verdict::DropInternal);
        }
    }
    Ok(())
}

/// Writes the reply entry that belongs to a forward one.
#[inline(always)]
pub(crate) fn write_reply<A: HalfOpen>(forward: &Flow<A>, packet: &Packet<A>, reply: &mut Flow<A>) {
    *reply = *forward;
    reply.peer = packet.key.source;
    reply.ports = packet.key.ports.swapped();
    reply.state |= REPLY;
    reply.seq = 0;
    reply.ack = 0;
    reply.bytes = 0;
}

/// From the half-open table to the established one. `None` if that is full.
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
    let nat = entry.state() & NAT != 0;
    if nat {
        entry.other_key(&packet.key, backend, &mut scratch.other)?;
        if !half_open::read(&scratch.other, now, &mut scratch.reply) {
            return Err(Verdict::DropInternal);
        }
        scratch.reply.state &= !HALF_OPEN;
    }
    if !half_open::read(&packet.key, now, &mut scratch.value) {
        return Err(Verdict::DropInternal);
    }
    scratch.value.state &= !HALF_OPEN;
    if nat && !flow::establish(&scratch.other, &scratch.reply) {
        return Ok(None);
    }
    if !flow::establish(&packet.key, &scratch.value) {
        if nat {
            let _ = A::flows().remove(&scratch.other);
        }
        return Ok(None);
    }
    flow::count(scratch.value.backend, |row| row.opened += 1);
    if nat {
        half_open::remove(&scratch.other, now);
    }
    half_open::remove(&packet.key, now);
    Ok(Entry::established(&packet.key))
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
        half_open::remove(&scratch.other, now);
    }
    half_open::remove(&packet.key, now);
    Ok(())
}
