//! A TCP or UDP packet, and what it is to its flow.
//!
//! ```text
//! established? ──yes──→ live
//!   └no→ half-open? ──yes──→ opening ──→ (promoted?) live
//!          └no→ admit
//! ```

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        flow::{KEEPS_SOURCE, NAT, REPLY},
    },
    tcp,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::{
    admit::admit,
    live::live,
    opening::{forget, opening},
    refuse,
    step::Step,
};
use crate::{
    clock, exit,
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    packet::Packet,
    rewrite,
    scratch::{Room, Scratch},
};

/// Decides about the packet in the room. `missed`: the hit path found no established
/// flow.
#[inline(always)]
pub(crate) fn connection<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    room: &mut Room<A>,
    missed: bool,
) -> Step {
    let Room {
        packet, scratch, ..
    } = room;
    let packet = &*packet;
    let now = clock::now();
    scratch.comes_back = 0;
    let mut established = None;
    let mut half = None;
    if missed {
        half = half_open::handshake(&packet.key, now);
    }
    // In neither table: it may have moved from one to the other meanwhile, by a
    // packet on another CPU. A SYN does not ask again: what opens has no flow.
    if half.is_none() && !(missed && packet.opens()) {
        established = Entry::established(&packet.key);
    }
    if let Some(entry) = established {
        let backend = entry.backend()?;
        exit::check::<H, A>(entry, backend)?;
        if entry.is_disowned(backend) {
            if packet.is_tcp() && !packet.opens() {
                return refuse::reset(packet, &mut scratch.answer, Verdict::ResetDisowned);
            }
            // What ends here begins nothing anew.
            if rewrite::lives_on(packet) {
                retire(entry, packet, backend, scratch)?;
            }
        } else if !rewrite::lives_on(packet) {
            return refuse::expired(packet, &mut scratch.answer);
        } else if packet.opens() && begins_anew(entry) {
            retire(entry, packet, backend, scratch)?;
        } else {
            return live(cursor, packet, entry, backend, scratch, now);
        }
    }
    if !missed {
        half = half_open::handshake(&packet.key, now);
    }
    if let Some(entry) = half {
        let backend = entry.backend()?;
        exit::check::<H, A>(entry, backend)?;
        if !rewrite::lives_on(packet) {
            return refuse::expired(packet, &mut scratch.answer);
        }
        if !entry.is_disowned(backend)
            && let Some(next) = opening(cursor, packet, entry, backend, scratch, now)?
        {
            return Ok(next);
        }
        forget(entry, packet, backend, scratch, now)?;
    }
    admit(cursor, packet, scratch, now)
}

/// A SYN from the client of this flow is not of it: it has ended.
#[inline(always)]
fn begins_anew<A: HalfOpen>(entry: Entry<A>) -> bool {
    let state = entry.state();
    state & REPLY == 0 && tcp::may_begin_anew(state, state & NAT != 0)
}

/// Takes an ended or disowned flow out of the table, so that its tuple may
/// begin anew. Whoever removes the forward entry counts.
#[inline(always)]
fn retire<A: HalfOpen>(
    entry: Entry<A>,
    packet: &Packet<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
) -> Result<(), Verdict> {
    let (state, index) = (entry.state(), entry.get(|f| f.backend));
    let mut truth = state;
    if state & NAT != 0 {
        entry.other_key(&packet.key, backend, &mut scratch.other)?;
        if state & REPLY != 0 {
            truth = Entry::established(&scratch.other).map_or(tcp::CLOSED, Entry::state);
        }
    }
    let here = A::flows().remove(&packet.key).is_ok();
    let there = state & NAT != 0 && A::flows().remove(&scratch.other).is_ok();
    let removed = if state & REPLY != 0 { there } else { here };
    if state & (NAT | KEEPS_SOURCE) == NAT && here && there {
        let reply_key = if state & REPLY != 0 {
            &packet.key
        } else {
            &scratch.other
        };
        // The new flow is better off with this port than any other: the backend may
        // remember the old one, and takes what follows it from the same client.
        scratch.again = *reply_key;
        scratch.comes_back = 1;
    }
    if removed && truth & tcp::CLOSED == 0 {
        flow::count(index, |row| row.closed += 1);
    }
    Ok(())
}
