//! A packet of an established flow (or of one that lingers): what it does to the
//! flow's state, and on its way.

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        flow::{NAT, REPLY},
    },
    tcp, wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::{
    refuse,
    step::{Next, Step},
};
use crate::{
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    maps,
    packet::Packet,
    rewrite,
    scratch::Scratch,
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
    if packet.is_tcp() {
        step(packet, entry, backend, scratch)?;
    }
    forward(cursor, packet, entry, backend, scratch, now)
}

/// Takes the flow's state on by what the packet's flags say.
#[inline(always)]
fn step<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
) -> Result<(), Verdict> {
    let index = entry.get(|f| f.backend);
    let sees_both = entry.state() & NAT != 0;
    let one_more = !sees_both
        && tcp::acknowledges_fin(
            entry.state(),
            packet.flags,
            entry.get(|f| f.ack),
            packet.ack,
        );
    if !packet.has(tcp::FIN | tcp::RST) && !one_more {
        return Ok(());
    }
    // A RST from nowhere near is forwarded, but believed by its receiver only.
    if packet.has(tcp::RST) && !tcp::is_near(packet.seq, entry.get(|f| f.seq)) {
        return Ok(());
    }
    let truth = if entry.is_reply() {
        entry.other_key(&packet.key, backend, &mut scratch.other)?;
        match Entry::established(&scratch.other) {
            Some(forward) => forward,
            None => return Ok(()),
        }
    } else {
        entry
    };
    let from = if entry.is_reply() {
        tcp::From::Backend
    } else {
        tcp::From::Client
    };
    let mut add = tcp::step(truth.state(), packet.flags, from, sees_both);
    if one_more {
        add |= tcp::CLOSED;
    }
    let mut before = truth.add_state(add);
    // Two FINs that cross on two CPUs each saw the state without the other.
    if sees_both && tcp::both_closed(before | add) && (before | add) & tcp::CLOSED == 0 {
        add |= tcp::CLOSED;
        before = truth.add_state(add);
    }
    let new = add & !before;
    if new & tcp::CLOSED != 0 {
        flow::count(index, |row| row.closed += 1);
    }
    if new & tcp::CLIENT_FIN != 0 && !sees_both {
        flow::count(index, |row| row.closing += 1);
    }
    Ok(())
}

/// On its way, in the entry's direction.
#[inline(always)]
pub(crate) fn forward<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Step {
    let state = entry.state();
    if state & REPLY == 0 {
        let mode = rewrite::mode(backend.mode)?;
        if !rewrite::fits(cursor, packet, backend, mode) {
            return refuse::too_big(packet, &mut scratch.answer, backend, now);
        }
        if state & NAT != 0 {
            follow_client(cursor, packet, entry, backend, scratch, now)?;
        }
    }
    if state & NAT != 0 {
        rewrite::lives_on(packet)?;
    }
    entry.note(packet, now);
    scratch.value = entry.get(|f| *f);
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
    let interface = interface_of(cursor)?;
    entry.set_client(mac, interface);
    entry.other_key(&packet.key, backend, &mut scratch.other)?;
    if let Some(reply) = Entry::established(&scratch.other) {
        reply.set_client(mac, interface);
    }
    if let Some(reply) = half_open::entry(&scratch.other, now) {
        reply.set_client(mac, interface);
    }
    Ok(())
}

/// Our index of the interface that the packet came in by.
#[inline(always)]
pub(crate) fn interface_of<H: Hook>(cursor: &Cursor<H>) -> Result<u16, Verdict> {
    let ifindex = cursor.ifindex();
    // Most hosts have one interface, and need no look-up.
    if maps::INTERFACES
        .get(0)
        .is_some_and(|first| first.ifindex == ifindex)
    {
        return Ok(0);
    }
    // SAFETY: the value is copied at once, and is one aligned word.
    match unsafe { maps::INTERFACE_BY_IFINDEX.get(ifindex) } {
        Some(index) => Ok(*index as u16),
        None => Err(Verdict::DropNoNextHop),
    }
}
