//! A packet of an established flow (or of one that lingers): what it does to the
//! flow's state, and on its way.

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        flow::{FlowKey, NAT, REPLY, TIME_WAIT},
        nat_port::Class,
    },
    tcp, wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::{
    refuse, renewal,
    step::{Next, Step},
};
use crate::{
    exit,
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    nat_port,
    packet::Packet,
    rewrite,
    scratch::Scratch,
    split,
};

/// A packet of an established flow.
#[inline(always)]
pub(crate) fn live<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Step {
    let believed = is_from_its_side(cursor, entry, backend)
        && (!packet.is_tcp() || step(packet, entry, backend, scratch, now)?);
    forward(cursor, packet, entry, backend, scratch, now, believed)
}

/// A backend answers by the interface that leads to it; what claims to be its answer
/// on another may be anybody's.
#[inline(always)]
pub(crate) fn is_from_its_side<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    entry: Entry<A>,
    backend: &Backend,
) -> bool {
    !entry.is_reply() || cursor.ifindex() == backend.ifindex
}

/// Takes the flow's state on by what the packet says. False if the flow's numbers
/// and times do not follow it.
#[inline(always)]
fn step<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<bool, Verdict> {
    let state = entry.state();
    let sees_both = state & NAT != 0;
    if !packet.has_l4 || sees_both && !packet.has(tcp::SYN | tcp::FIN | tcp::RST) {
        let fits = entry.fits(packet);
        if fits && state & (tcp::CLOSED | TIME_WAIT | REPLY) == tcp::CLOSED {
            farewell(packet, entry, backend, scratch)?;
        }
        return Ok(fits);
    }
    let mut other = None;
    if sees_both {
        entry.other_key(&packet.key, backend, &mut scratch.other)?;
        other = Entry::established(&scratch.other);
    }
    if packet.has(tcp::SYN) {
        renewal::offer(packet, entry, other, scratch, now);
        return Ok(false);
    }
    // Each direction by itself: the verifier of 6.1 loses sight of which of two entries
    // was looked up and found.
    if state & REPLY == 0 {
        let expected = other.map_or(entry.numbers().seq, |reply| reply.numbers().ack);
        let from = tcp::From::Client;
        let key = &scratch.other;
        let fits = judge(packet, entry, entry, from, sees_both, expected, key);
        return Ok(fits || !sees_both && renewal::is_followed_by(packet, entry, now));
    }
    let Some(forward) = other else {
        return Ok(false);
    };
    let expected = forward.numbers().ack;
    let from = tcp::From::Backend;
    Ok(judge(
        packet,
        entry,
        forward,
        from,
        true,
        expected,
        &packet.key,
    ))
}

/// A word of the client's on a flow that is closed. Where the backend closed last, it
/// waits for this one alone: then another flow may have the port.
#[inline(always)]
fn farewell<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
) -> Result<(), Verdict> {
    entry.other_key(&packet.key, backend, &mut scratch.other)?;
    let sent = Entry::established(&scratch.other).map(|reply| reply.numbers().seq);
    if sent == Some(packet.segment.ack) {
        nat_port::put(entry.state(), &scratch.other, Class::Closed);
    }
    Ok(())
}

/// What the packet adds to the state in the forward entry, `truth`. True if it fits what
/// is known of its own direction. `reply` is the tuple of the backend's packets (nat).
#[inline(always)]
fn judge<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    truth: Entry<A>,
    from: tcp::From,
    sees_both: bool,
    expected: u32,
    reply: &FlowKey<A>,
) -> bool {
    let sight = tcp::Sight {
        state: truth.state(),
        from,
        own: entry.numbers(),
        bytes: entry.get(|f| f.bytes),
        sees_both,
        expected,
    };
    let tcp::Says { fits, mut add } = tcp::says(sight, packet.segment);
    if add == 0 {
        return fits;
    }
    let client_end = truth.numbers().seq;
    if sees_both
        && add & tcp::BACKEND_FIN != 0
        && !tcp::closes_last(sight.state, client_end, packet.segment)
    {
        add |= TIME_WAIT;
    }
    let mut before = truth.add_state(add);
    // Two FINs that cross on two CPUs each saw the state without the other.
    if sees_both && tcp::both_closed(before | add) && (before | add) & tcp::CLOSED == 0 {
        add |= tcp::CLOSED;
        before = truth.add_state(add);
    }
    let index = entry.get(|f| f.backend);
    if add & !before & tcp::CLOSED != 0 {
        flow::count(index, |row| row.closed += 1);
        // Nothing of it is left at the backend, or nothing that anybody waits for.
        if sees_both && (before | add) & (tcp::WAS_RESET | TIME_WAIT) != 0 {
            nat_port::put(before, reply, Class::Closed);
        }
    }
    if !sees_both && tcp::is_closing(before | add) && !tcp::is_closing(before) {
        flow::count(index, |row| row.closing += 1);
    }
    fits
}

/// On its way, in the entry's direction. The flow follows the packet only if it is
/// `believed`.
#[inline(always)]
pub(crate) fn forward<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
    believed: bool,
) -> Step {
    let state = entry.state();
    if state & REPLY != 0 {
        let exit = entry.get(exit::of_flow)?;
        if !rewrite::fits_link(cursor, packet, exit.mtu) {
            return refuse::too_big(packet, &mut scratch.answer, exit.mtu as u32);
        }
    } else {
        let mode = rewrite::mode(backend.mode)?;
        if !split::goes(cursor, packet, backend, mode)? {
            return refuse::too_big(packet, &mut scratch.answer, rewrite::room(backend, mode));
        }
        if !mode.tunnels() {
            rewrite::keeps_tag(cursor, packet, backend.ifindex)?;
        }
        if believed && state & NAT != 0 {
            follow_client(cursor, packet, entry, backend, scratch, now)?;
        }
    }
    if believed {
        entry.note(packet, now);
    }
    entry.copy_to(&mut scratch.value);
    Ok(Next::Send)
}

/// The client, or the router before it, may have moved to another MAC address
/// or interface: answers follow.
#[inline(always)]
fn follow_client<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<(), Verdict> {
    let mac = cursor.read::<wire::Ethernet>(0)?.source();
    if mac == entry.get(|f| f.client_mac) {
        return Ok(());
    }
    let exit = exit::of(cursor, packet.key.source, mac)?;
    entry.set_client(mac, exit);
    entry.other_key(&packet.key, backend, &mut scratch.other)?;
    if let Some(reply) = Entry::established(&scratch.other) {
        reply.set_client(mac, exit);
    }
    if let Some(reply) = half_open::entry(&scratch.other, now) {
        reply.set_client(mac, exit);
    }
    Ok(())
}
