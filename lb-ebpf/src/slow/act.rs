//! What was decided is done to the packet: it is sent on, or turned into the answer to
//! itself.

use lb_common::abi::{counter::Verdict, flow::REPLY};
use lb_ebpf::{cursor::Cursor, hook::Hook, ip::Ip};

use crate::{
    family::Family,
    flow, icmp_error, maps,
    packet::Packet,
    reset, rewrite,
    scratch::{Answer, Room},
};

/// Sends the packet on by the entry in the room, in its direction; counts it.
#[inline(always)]
pub(crate) fn send<H: Hook, A: Family>(cursor: Cursor<H>, room: &Room<A>) -> Result<u32, Verdict> {
    let Room {
        packet, scratch, ..
    } = room;
    let entry = &scratch.value;
    if entry.state & REPLY != 0 {
        let action = rewrite::to_client(cursor, packet, entry)?;
        flow::count_out(entry.backend, packet.len);
        return Ok(action);
    }
    let backend = maps::BACKENDS
        .get(entry.backend as u32)
        .ok_or(Verdict::DropInternal)?;
    let mode = rewrite::mode(backend.mode)?;
    let target = (entry.peer, entry.ports);
    let action = rewrite::to_backend(cursor, packet, target, backend, mode)?;
    flow::count_in(entry.backend, packet.len);
    Ok(action)
}

/// Turns the packet into the answer to itself.
#[inline(always)]
pub(crate) fn answer<H: Hook, A: Ip>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    answer: &Answer,
) -> Result<(), Verdict> {
    if answer.longest != 0 {
        icmp_error::too_big(cursor, packet, answer.longest)
    } else if packet.is_tcp() {
        reset::build(cursor, packet)
    } else {
        icmp_error::unreachable(cursor, packet)
    }
}
