//! Everything but the hit path: handshakes, ends, first packets, refusals.
//!
//!     parse → established? ──yes→ live → out
//!               └no→ half-open? ──yes→ opening ──→ (promoted?) → out
//!                      └no→ classify → admit → select → insert → out

use lb_common::{
    abi::{
        backend::{Backend, LoadBalancer},
        counter::Verdict,
        flow::{ADOPTED, ANSWERED, Flow, HALF_OPEN, NAT, Ports, REPLY, SETTLES},
        vip::Listener,
    },
    hash,
    mode::Mode,
    tcp, wire,
};

use lb_ebpf::{cursor::Cursor, hook::Hook};

use crate::{
    classify, clock, family,
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    icmp, maps,
    packet::Packet,
    parse::{self, Found},
    reset, rewrite,
    scratch::{Room, Scratch},
    select,
};

/// The whole way of one family, for packets of any shape. `missed`: the hit path
/// found no established flow.
#[inline(always)]
pub(crate) fn path<H: Hook, A: HalfOpen>(cursor: Cursor<H>, missed: bool) -> Result<u32, Verdict> {
    let Room {
        datagram,
        embedded,
        packet,
        fragment,
        scratch,
    } = family::room::<A>()?;
    match parse::datagram(&cursor, datagram, packet, fragment)? {
        Found::Transport => connection(cursor, packet, scratch, missed),
        Found::Icmp => icmp::message(cursor, datagram, embedded, packet),
        Found::Other => Err(match classify::address(datagram.destination) {
            classify::Ours::Vip => Verdict::NoListener,
            _ => Verdict::NotOurs,
        }),
    }
}

/// A TCP or UDP packet.
#[inline(always)]
fn connection<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    scratch: &mut Scratch<A>,
    missed: bool,
) -> Result<u32, Verdict> {
    let now = clock::now();
    let mut established = None;
    let mut half = None;
    if missed {
        half = half_open::entry(&packet.key, now);
    }
    // In neither table: it may have moved from one to the other meanwhile, by a
    // packet on another CPU. A SYN does not ask again: what opens has no flow.
    if half.is_none() && !(missed && packet.opens()) {
        established = Entry::established(&packet.key);
    }
    if let Some(entry) = established {
        let backend = entry.backend()?;
        if entry.is_disowned(backend) {
            if packet.is_tcp() && !packet.opens() {
                return Err(answer_tcp(cursor, packet, Verdict::ResetDisowned));
            }
            retire(entry, packet, backend, scratch)?;
        } else if packet.opens() && begins_anew(entry) {
            retire(entry, packet, backend, scratch)?;
        } else {
            return live(cursor, packet, entry, backend, scratch, now);
        }
    }
    if !missed {
        half = half_open::entry(&packet.key, now);
    }
    if let Some(entry) = half {
        let backend = entry.backend()?;
        if !entry.is_disowned(backend) {
            return opening(cursor, packet, entry, backend, scratch, now);
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

/// A packet of an established flow (or of one that lingers).
#[inline(always)]
fn live<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<u32, Verdict> {
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

/// On its way, in the entry's direction; counts it.
#[inline(always)]
fn forward<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<u32, Verdict> {
    let index = entry.get(|f| f.backend);
    if entry.is_reply() {
        let action = rewrite::to_client(cursor, packet, entry)?;
        entry.note(packet, now);
        flow::count_out(index, packet.len);
        return Ok(action);
    }
    let mode = rewrite::mode(backend.mode)?;
    if !rewrite::fits(&cursor, packet, backend, mode) {
        return Err(icmp::too_big(cursor, packet, backend, now));
    }
    if entry.state() & NAT != 0 {
        follow_client(&cursor, packet, entry, backend, scratch, now)?;
    }
    let action = rewrite::to_backend(cursor, packet, entry.target(), backend, mode)?;
    entry.note(packet, now);
    flow::count_in(index, packet.len);
    Ok(action)
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
fn interface_of<H: Hook>(cursor: &Cursor<H>) -> Result<u16, Verdict> {
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
        None => Err(Verdict::DropNoWay),
    }
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
    if removed && truth & tcp::CLOSED == 0 {
        flow::count(index, |row| row.closed += 1);
    }
    Ok(())
}

/// Takes a half-open flow out of its table.
#[inline(always)]
fn forget<A: HalfOpen>(
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

/// A packet of a handshake, or of a conversation not yet answered.
#[inline(always)]
fn opening<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<u32, Verdict> {
    match handshake(packet, entry, backend, scratch, now)? {
        Step::Forward => forward(cursor, packet, entry, backend, scratch, now),
        Step::Forget => {
            let action = forward(cursor, packet, entry, backend, scratch, now)?;
            forget(entry, packet, backend, scratch, now)?;
            Ok(action)
        }
        Step::Promote => match promote(packet, entry, backend, scratch, now)? {
            Some(entry) => live(cursor, packet, entry, backend, scratch, now),
            None => Err(refuse(
                cursor,
                packet,
                Verdict::ResetFull,
                Verdict::UnreachableFull,
            )),
        },
        Step::Refuse => Err(answer_tcp(cursor, packet, Verdict::ResetNoFlow)),
    }
}

/// What a packet means to a half-open flow.
enum Step {
    /// On its way; the flow stays half-open.
    Forward,
    /// The last of the flow: on its way, and the flow is forgotten.
    Forget,
    /// The flow is established.
    Promote,
    /// No part of this handshake.
    Refuse,
}

#[inline(always)]
fn handshake<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    backend: &Backend,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<Step, Verdict> {
    let nat = entry.state() & NAT != 0;
    if !packet.has_l4 {
        return Ok(Step::Forward);
    }
    if packet.has(tcp::RST) {
        return Ok(Step::Forget);
    }
    if entry.is_reply() {
        // A SYN-ACK, or what follows it before the client has spoken; any
        // answer at all, for UDP.
        if packet.has(tcp::SYN) {
            entry.add_state(ANSWERED);
        }
        return Ok(if packet.is_tcp() {
            Step::Forward
        } else {
            Step::Promote
        });
    }
    if packet.is_tcp() && !packet.opens() {
        let proven = if nat {
            acknowledges_answer(packet, entry, backend, scratch, now)?
        } else if entry.state() & ADOPTED != 0 && !settled(entry, now) {
            return Ok(Step::Forward);
        } else {
            packet.has(tcp::ACK)
        };
        return Ok(if proven { Step::Promote } else { Step::Refuse });
    }
    if nat {
        mend_reply(packet, entry, backend, scratch, now)?;
        return Ok(Step::Forward);
    }
    let talks = !packet.is_tcp() && settled(entry, now);
    Ok(if talks { Step::Promote } else { Step::Forward })
}

#[inline(always)]
fn settled<A: HalfOpen>(entry: Entry<A>, now: u32) -> bool {
    now.wrapping_sub(entry.get(|f| f.born)) >= SETTLES
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
fn write_reply<A: HalfOpen>(forward: &Flow<A>, packet: &Packet<A>, reply: &mut Flow<A>) {
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

/// A packet that no flow knows.
#[inline(always)]
fn admit<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    scratch: &mut Scratch<A>,
    now: u32,
) -> Result<u32, Verdict> {
    let (listener_index, listener) = classify::listener(&packet.key)?;
    if !packet.has_l4 {
        return Err(Verdict::DropFragment);
    }
    let lb = maps::LBS
        .get(listener.lb as u32)
        .ok_or(Verdict::DropInternal)?;
    let adopted = packet.is_tcp() && !packet.opens();
    if adopted && (rewrite::mode(lb.mode)?.sees_both_sides() || packet.has(tcp::RST | tcp::SYN)) {
        return Err(answer_tcp(cursor, packet, Verdict::ResetNoFlow));
    }
    let Some((index, backend)) = select::backend(&packet.key, listener.lb, lb) else {
        return Err(refuse(
            cursor,
            packet,
            Verdict::ResetNoBackend,
            Verdict::UnreachableNoBackend,
        ));
    };
    let mode = rewrite::mode(backend.mode)?;
    if !rewrite::fits(&cursor, packet, backend, mode) {
        return Err(icmp::too_big(cursor, packet, backend, now));
    }
    let value = &mut scratch.value;
    *value = Flow {
        listener: listener_index,
        backend: index,
        client_mac: cursor.read::<wire::Ethernet>(0)?.source(),
        interface: interface_of(&cursor)?,
        state: if adopted {
            HALF_OPEN | ADOPTED
        } else {
            HALF_OPEN
        },
        epoch: backend.epoch,
        seen: now,
        born: now,
        seq: packet.next_seq,
        ack: packet.ack,
        bytes: packet.len as u64,
        ..Flow::default()
    };
    match mode {
        Mode::Nat => {
            value.state |= NAT;
            if !bind(packet, scratch, listener, lb, backend, now) {
                return Err(refuse(
                    cursor,
                    packet,
                    Verdict::ResetNoPort,
                    Verdict::UnreachableNoPort,
                ));
            }
        }
        Mode::Dsr => {}
        Mode::Ipip => value.ports = rewrite::varied(packet, backend)?,
    }
    let value = &scratch.value;
    if !half_open::put(&packet.key, value, now) {
        return Err(Verdict::DropInternal);
    }
    let action = rewrite::to_backend(cursor, packet, (value.peer, value.ports), backend, mode)?;
    flow::count_in(index, packet.len);
    Ok(action)
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

/// Refuses a new flow so that the client learns at once.
#[inline(always)]
fn refuse<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    tcp: Verdict,
    udp: Verdict,
) -> Verdict {
    if packet.is_tcp() {
        answer_tcp(cursor, packet, tcp)
    } else {
        icmp::unreachable(cursor, packet, udp)
    }
}

/// A RST, if there is a TCP header to make it of.
#[inline(always)]
fn answer_tcp<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    verdict: Verdict,
) -> Verdict {
    if packet.has_l4 {
        reset::answer(cursor, packet, verdict)
    } else {
        Verdict::DropFragment
    }
}
