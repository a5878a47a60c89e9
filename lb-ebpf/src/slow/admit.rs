//! A packet that no flow knows: whether it begins one, and with which backend.

use lb_common::{
    abi::{
        counter::Verdict,
        flow::{ADOPTED, Flow, FlowKey, HALF_OPEN, NAT},
    },
    mode::Mode,
    tcp, wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::{
    refuse,
    step::{Next, Step},
};
use crate::{
    classify, exit,
    half_open::{self, HalfOpen},
    interface, maps,
    packet::Packet,
    rewrite,
    scratch::Scratch,
    select, split,
};

/// Begins a flow, or refuses to.
#[inline(always)]
pub(crate) fn admit<H: Hook, A: HalfOpen>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Step {
    let (listener_index, listener) = classify::listener(&packet.key)?;
    let is_local = interface::is_loopback(cursor);
    if is_local {
        if is_an_answer(packet) {
            return Err(Verdict::NotOurs);
        }
    } else if classify::is_martian(packet.key.source) {
        return Err(Verdict::DropMartian);
    }
    if !packet.has_l4 {
        return Err(Verdict::DropFragment);
    }
    let lb = maps::LBS
        .get(listener.lb as u32)
        .ok_or(Verdict::DropInternal)?;
    if is_local && !rewrite::mode(lb.mode)?.translates() {
        // The backend would answer the VIP, and so itself.
        return refuse::refuse(
            packet,
            &mut scratch.answer,
            Verdict::ResetLocal,
            Verdict::UnreachableLocal,
        );
    }
    let adopted = packet.is_tcp() && !packet.opens();
    if adopted && (rewrite::mode(lb.mode)?.sees_both_sides() || packet.has(tcp::RST | tcp::SYN)) {
        return refuse::reset(packet, &mut scratch.answer, Verdict::ResetNoFlow);
    }
    let Some((index, backend)) = select::backend(&packet.key, listener.lb, lb) else {
        return refuse::refuse(
            packet,
            &mut scratch.answer,
            Verdict::ResetNoBackend,
            Verdict::UnreachableNoBackend,
        );
    };
    exit::check_backend::<H>(backend)?;
    if !rewrite::lives_on(packet) {
        return refuse::expired(packet, &mut scratch.answer);
    }
    let mode = rewrite::mode(backend.mode)?;
    if !split::goes(cursor, packet, backend, mode)? {
        return refuse::too_big(packet, &mut scratch.answer, rewrite::room(backend, mode));
    }
    let client_mac = cursor.read::<wire::Ethernet>(0)?.source();
    let exit = exit::of(cursor, packet.key.source, client_mac)?;
    let value = &mut scratch.value;
    *value = Flow {
        listener: listener_index,
        backend: index,
        client_mac,
        exit,
        state: if adopted {
            HALF_OPEN | ADOPTED
        } else {
            HALF_OPEN
        },
        epoch: backend.epoch,
        seen: now,
        born: now,
        seq: if packet.is_tcp() {
            packet.segment.next_seq
        } else {
            packet.len
        },
        ack: if packet.has(tcp::ACK) {
            packet.segment.ack
        } else {
            0
        },
        bytes: packet.len as u64,
        ..Flow::default()
    };
    match mode {
        Mode::Nat => {
            value.state |= NAT;
            return Ok(Next::Bind);
        }
        Mode::Dsr => {}
        Mode::Ipip => value.ports = rewrite::varied(packet, backend)?,
    }
    if !half_open::put(&packet.key, &scratch.value, now) {
        return Err(Verdict::DropInternal);
    }
    Ok(Next::Send)
}

/// Whether a listener has sent the packet, to a client on this host whose port is a
/// listener's, too. What begins a connection is no answer.
#[inline(always)]
fn is_an_answer<A: HalfOpen>(packet: &Packet<A>) -> bool {
    let FlowKey {
        source,
        ports,
        protocol,
        ..
    } = packet.key;
    !packet.opens() && classify::is_listener(source, ports.source(), protocol)
}
