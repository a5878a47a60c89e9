//! What was decided is done to the packet: it is sent on, or turned into the answer to
//! itself.

use lb_common::{
    abi::{
        counter::Verdict,
        flow::{FRAGMENTS, REPLY},
        rate::Kind,
    },
    wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook, ip::Ip};

use super::step::Next;
use crate::{
    exit,
    family::Family,
    flow::{self, Load},
    icmp_error, maps,
    packet::Packet,
    path, rate, reset, rewrite,
    scratch::{Answer, Room},
    split,
};

/// Sends the packet on by the entry in the room, in its direction; counts it. Or finds
/// that it has to be answered, after all.
#[inline(always)]
pub(crate) fn send<H: Hook, A: Family>(
    mut cursor: Cursor<H>,
    room: &mut Room<A>,
) -> Result<u32, Verdict> {
    let Room {
        packet, scratch, ..
    } = room;
    let entry = &scratch.value;
    let load = Load::of(&cursor, packet);
    if entry.state & REPLY != 0 {
        let exit = exit::of_flow(entry)?;
        if entry.state & FRAGMENTS != 0 && packet.has_l4 {
            path::allow_fragments(&mut cursor, packet)?;
        }
        let action = rewrite::to_client(cursor, packet, entry, exit)?;
        flow::count_out(entry.backend, load);
        return Ok(action);
    }
    let backend = maps::BACKENDS
        .get(entry.backend as u32)
        .ok_or(Verdict::DropInternal)?;
    let mode = rewrite::mode(backend.mode)?;
    if mode.translates() && packet.opens() {
        path::clamp(&mut cursor, packet)?;
    }
    let target = (entry.peer, entry.ports);
    let fits = !H::SENDS_MORE || A::V6 || rewrite::fits(&cursor, packet, backend, mode);
    let action = if fits || !mode.tunnels() {
        rewrite::to_backend(cursor, packet, target, backend, mode)?
    } else if is_unfinished(&mut cursor, packet)? {
        // What a device will finish is over the whole datagram.
        scratch.answer = Answer {
            verdict: Verdict::TooBig as u32,
            longest: rewrite::room(backend, mode),
        };
        return Ok(Next::Answer.code());
    } else {
        let (_, varied) = target;
        split::send(cursor, packet, varied.0, backend)?
    };
    flow::count_in(entry.backend, load);
    Ok(action)
}

/// Whether the packet's checksum of layer 4 is a device's to finish.
#[inline(always)]
fn is_unfinished<H: Hook, A: Ip>(
    cursor: &mut Cursor<H>,
    packet: &Packet<A>,
) -> Result<bool, Verdict> {
    let l4 = packet.l4 as usize;
    if !packet.has_l4 {
        Ok(false)
    } else if packet.is_tcp() {
        cursor.is_unfinished::<wire::Tcp>(l4)
    } else {
        cursor.is_unfinished::<wire::Udp>(l4)
    }
}

/// Turns the packet into the answer to itself, unless there were too many just now.
#[inline(always)]
pub(crate) fn answer<H: Hook, A: Ip>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    answer: &Answer,
) -> Result<(), Verdict> {
    let says = if answer.longest != 0 {
        rate::limit(Kind::TooBig, Verdict::DropTooBig)?;
        icmp_error::too_big::<A>(answer.longest)
    } else if answer.verdict == Verdict::TimeExceeded as u32 {
        rate::limit(Kind::Expired, Verdict::DropTtl)?;
        icmp_error::time_exceeded::<A>()
    } else if packet.is_tcp() {
        if answer.verdict != Verdict::ResetDisowned as u32 {
            rate::limit(Kind::Reset, Verdict::DropLimited)?;
        }
        return reset::build(cursor, packet);
    } else {
        rate::limit(Kind::Unreachable, Verdict::DropLimited)?;
        icmp_error::unreachable::<A>()
    };
    icmp_error::build(cursor, packet, says)
}
