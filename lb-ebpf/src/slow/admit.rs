//! A packet that no flow knows: whether it begins one, and with which backend.

use lb_common::{
    abi::{
        backend::{Backend, LoadBalancer},
        counter::Verdict,
        flow::{ADOPTED, Flow, HALF_OPEN, NAT, Ports},
        vip::Listener,
    },
    hash,
    mode::Mode,
    tcp, wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::{
    opening::write_reply,
    refuse,
    step::{Next, Step},
};
use crate::{
    classify, exit,
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    maps,
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
    if classify::is_martian(packet.key.source) {
        return Err(Verdict::DropMartian);
    }
    if !packet.has_l4 {
        return Err(Verdict::DropFragment);
    }
    let lb = maps::LBS
        .get(listener.lb as u32)
        .ok_or(Verdict::DropInternal)?;
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
        seq: packet.segment.next_seq,
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
            if !bind(packet, scratch, listener, lb, backend, now) {
                return refuse::refuse(
                    packet,
                    &mut scratch.answer,
                    Verdict::ResetNoPort,
                    Verdict::UnreachableNoPort,
                );
            }
        }
        Mode::Dsr => {}
        Mode::Ipip => value.ports = rewrite::varied(packet, backend)?,
    }
    if !half_open::put(&packet.key, &scratch.value, now) {
        return Err(Verdict::DropInternal);
    }
    Ok(Next::Send)
}

/// How many ports are tried for a new nat flow.
const PORT_TRIES: u32 = 48;

/// Finds a free source port towards the backend, and binds it by the reply
/// entry. Writes the new source into the forward entry.
#[inline(always)]
fn bind<A: HalfOpen>(
    packet: &Packet<A>,
    scratch: &mut Scratch<A>,
    listener: &Listener<A>,
    lb: &LoadBalancer,
    backend: &Backend,
    now: u32,
) -> bool {
    let Some(settings) = maps::SETTINGS.get(0) else {
        return false;
    };
    let mut hash = packet.key.hash(settings.nat_seed ^ lb.seed);
    let pool = if A::V6 {
        settings.nat_pool_v6
    } else {
        settings.nat_pool_v4
    } as u32;
    scratch.value.peer = if pool == 0 {
        A::from_words(backend.source)
    } else {
        match A::nat_pool().get(hash::below(hash, pool) as u32) {
            Some(address) => *address,
            None => return false,
        }
    };
    let first = settings.nat_port_first as u32;
    let span = (settings.nat_port_last as u32).saturating_sub(first) + 1;
    let to = u16::from_be(listener.backend_port);
    let address = A::from_words(backend.address);
    write_reply(&scratch.value, packet, &mut scratch.reply);
    for _ in 0..PORT_TRIES {
        hash = hash::again(hash);
        let ports = Ports::new(first as u16 + hash::below(hash, span) as u16, to);
        scratch.other = flow::reply_key(address, scratch.value.peer, ports, packet.key.protocol);
        scratch.value.ports = ports;
        if Entry::established(&scratch.other).is_none()
            && half_open::put_new(&scratch.other, &scratch.reply, now)
        {
            return true;
        }
    }
    false
}
