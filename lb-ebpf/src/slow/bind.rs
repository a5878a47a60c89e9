//! A port for a new flow of nat: one that is free, or that another flow can do without.
//!
//! A try is a function of its own, and so is the end of the other flow: the verifier
//! walks through each of them once, and not once for every try. Both ask for the room by
//! themselves, and whoever calls them holds no reference to it meanwhile: Linux 6.1 takes no
//! pointer that was handed over for a map's key.

use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        counter::Verdict,
        flow::{KEEPS_SOURCE, Ports, ticks},
        nat_port::{self, Class, Taken},
    },
    hash, tcp,
};

use super::{
    opening::write_reply,
    refuse,
    step::{Next, Step},
};
use crate::{
    clock, family,
    flow::{self, Entry},
    half_open::{self, HalfOpen},
    maps,
    nat_port::{self as ports, Row},
    packet::Packet,
    scratch::{Room, Scratch},
};

/// How often it is tried to get a port: once for each class that has none, and then for
/// every port whose flow turns out to need it, or that another CPU was faster to take.
const TRIES: u32 = 16;
/// So many of them spare a handshake that is not yet [`SPARED`] old, if there is an older
/// one near it. In a flood that binds every port within a second there is none, and looking
/// for it would cost more than all the rest.
const SPARING: u32 = 6;
const SPARED: u32 = ticks(1_000);

/// A family that ports can be bound in: see the functions of these names below.
pub(crate) trait Binds: HalfOpen {
    fn try_one(row: u32, class: u32, now: u32, spared: u32) -> u32;
    fn vacate(now: u32, spared: u32) -> u32;
}

// What the two say, as numbers: the verifier wants those.

/// The port is the new flow's, or nobody's.
const DONE: u32 = 0;
/// Another port, then.
const AGAIN: u32 = 1;
/// There is none of this class.
const NONE: u32 = 2;
/// Its flow is a handshake, and younger than those that are to be ended.
const YOUNG: u32 = 3;

/// Finds a source port for the new flow in the room, binds it by the reply entry, and writes
/// the flow's own; or refuses the packet. A port is offered to others only when both are
/// there: who takes it ends the flow in both tables.
#[inline(always)]
pub(crate) fn bind<A: Binds>() -> Step {
    let now = clock::now();
    let found = start::<A>(now)?;
    let found = match found {
        Start::Search(row) => search::<A>(row, now),
        Start::Found => true,
        Start::None => false,
    };
    let Room {
        packet, scratch, ..
    } = family::room::<A>()?;
    let packet = &*packet;
    if !found {
        return refuse::refuse(
            packet,
            &mut scratch.answer,
            Verdict::ResetNoPort,
            Verdict::UnreachableNoPort,
        );
    }
    if !half_open::put(&packet.key, &scratch.value, now) {
        return Err(Verdict::DropInternal);
    }
    ports::put(scratch.value.state, &scratch.other, Class::Unanswered);
    Ok(Next::Send)
}

/// What there is before ports are tried.
enum Start {
    /// Where to look for one.
    Search(u32),
    /// The one that the client had, or has.
    Found,
    /// No address to come from, or another flow comes from the same one.
    None,
}

#[inline(always)]
fn start<A: Binds>(now: u32) -> Result<Start, Verdict> {
    let Room {
        packet, scratch, ..
    } = family::room::<A>()?;
    if !source(packet, scratch)? {
        return Ok(Start::None);
    }
    if scratch.value.state & KEEPS_SOURCE != 0 {
        return Ok(if keep(scratch, now) {
            Start::Found
        } else {
            Start::None
        });
    }
    if scratch.comes_back != 0 && again(scratch, now) {
        return Ok(Start::Found);
    }
    Ok(Start::Search(A::row(&scratch.other)))
}

/// Writes the reply entry, and its tuple but for the port. False if there is no address for
/// the flow to come from.
#[inline(always)]
fn source<A: Binds>(packet: &Packet<A>, scratch: &mut Scratch<A>) -> Result<bool, Verdict> {
    let backend = maps::BACKENDS
        .get(scratch.value.backend as u32)
        .ok_or(Verdict::DropInternal)?;
    let listener = A::listeners()
        .get(scratch.value.listener as u32)
        .ok_or(Verdict::DropInternal)?;
    let lb = maps::LBS
        .get(listener.lb as u32)
        .ok_or(Verdict::DropInternal)?;
    let settings = maps::SETTINGS.get(0).ok_or(Verdict::DropInternal)?;
    let pool = lb.pools[A::V6 as usize];
    let mut port = 0;
    scratch.value.peer = if lb.keeps_source != 0 {
        port = packet.key.ports.source();
        scratch.value.state |= KEEPS_SOURCE;
        packet.key.source
    } else if pool.len == 0 {
        A::from_words(backend.source)
    } else {
        let hash = packet.key.hash(settings.nat_seed ^ lb.seed);
        let index = pool.first as u32 + hash::below(hash, pool.len as u32) as u32;
        match A::nat_pool().get(index) {
            Some(address) => *address,
            None => return Ok(false),
        }
    };
    let address = A::from_words(backend.address);
    let ports = Ports::new(port, u16::from_be(listener.backend_port));
    scratch.value.ports = ports;
    scratch.other = flow::reply_key(address, scratch.value.peer, ports, packet.key.protocol);
    write_reply(&scratch.value, packet, &mut scratch.reply);
    Ok(true)
}

/// Has the flow come from its client's own address and port. False if another one does, which
/// came to the same backend by another listener. What is left of a handshake of this very
/// client and listener is in nobody's way.
#[inline(always)]
fn keep<A: Binds>(scratch: &mut Scratch<A>, now: u32) -> bool {
    if Entry::established(&scratch.other).is_some() {
        return false;
    }
    let listener = scratch.value.listener;
    match half_open::entry(&scratch.other, now) {
        Some(entry) if entry.get(|flow| flow.listener) != listener => false,
        _ => half_open::put(&scratch.other, &scratch.reply, now),
    }
}

/// Finds a port of the row and binds it; writes it into the forward entry.
#[inline(always)]
fn search<A: Binds>(row: u32, now: u32) -> bool {
    let mut class = 0;
    for tries in 0..TRIES {
        let spared = if tries < SPARING { SPARED } else { 0 };
        match A::try_one(row, class, now, spared) {
            DONE => return true,
            NONE if class == Class::Answered as u32 => return false,
            NONE => class += 1,
            _ => {}
        }
    }
    false
}

/// Binds the port that this client's last flow had, if the backend is the same. If not,
/// nobody has it now.
#[inline(always)]
fn again<A: Binds>(scratch: &mut Scratch<A>, now: u32) -> bool {
    let (had, other) = (&scratch.again, &mut scratch.other);
    let is_same = (had.source, had.destination) == (other.source, other.destination)
        && had.ports.source() == other.ports.source();
    if is_same {
        other.ports = had.ports;
        scratch.value.ports = had.ports.swapped();
        if Entry::established(other).is_none() && half_open::put_new(other, &scratch.reply, now) {
            return true;
        }
    }
    ports::put(scratch.value.state, had, Class::Free);
    false
}

/// Takes the next port of a class and binds it. It is in no class yet.
#[inline(always)]
fn try_one<A: Binds>(row: u32, class: u32, now: u32, spared: u32) -> Option<u32> {
    let row = Row(row);
    let place = match row.take(class) {
        Taken::Place(place) => place,
        Taken::Again => return Some(AGAIN),
        Taken::None => return Some(NONE),
    };
    let seed = maps::SETTINGS.get(0)?.nat_seed;
    try_this::<A>(nat_port::port(place, seed))?;
    if class != Class::Free as u32 {
        match A::vacate(now, spared) {
            DONE => {}
            YOUNG => {
                row.put_back(place, class);
                return Some(AGAIN);
            }
            // It keeps the port.
            _ => return Some(AGAIN),
        }
    }
    let scratch = &mut family::room::<A>().ok()?.scratch;
    if Entry::established(&scratch.other).is_some()
        || !half_open::put_new(&scratch.other, &scratch.reply, now)
    {
        return Some(AGAIN);
    }
    // A packet on another CPU may just have established the flow that was here.
    if Entry::established(&scratch.other).is_some() {
        half_open::remove(&scratch.other, now);
        return Some(AGAIN);
    }
    Some(DONE)
}

/// Writes the port into the tuples.
#[inline(always)]
fn try_this<A: Binds>(port: u16) -> Option<()> {
    let scratch = &mut family::room::<A>().ok()?.scratch;
    let ports = Ports::new(port, scratch.other.ports.source());
    scratch.other.ports = ports.swapped();
    scratch.value.ports = ports;
    Some(())
}

/// Ends the flow whose backend's packets have the tuple in the room, if it can do without
/// its port, and is not a handshake that has been silent for less than `spared` ticks.
#[inline(always)]
fn vacate<A: Binds>(now: u32, spared: u32) -> Result<u32, Verdict> {
    let Scratch {
        other: reply,
        former: forward,
        ..
    } = &mut family::room::<A>()?.scratch;
    let reply = &*reply;
    if let Some(entry) = Entry::established(reply) {
        entry.other_key(reply, entry.backend()?, forward)?;
        let truth = Entry::established(forward).filter(|truth| truth.is_of(entry));
        if let Some(truth) = truth {
            let state = truth.state();
            if state & tcp::CLOSED == 0 && !truth.is_one_datagram(reply.protocol) {
                return Ok(AGAIN);
            }
            if A::flows().remove(&*forward).is_ok() && state & tcp::CLOSED == 0 {
                flow::count(truth.get(|f| f.backend), |row| row.closed += 1);
            }
        }
        let _ = A::flows().remove(reply);
        return Ok(DONE);
    }
    if let Some(entry) = half_open::entry(reply, now) {
        entry.other_key(reply, entry.backend()?, forward)?;
        let born = entry.born();
        let mut silent = entry.silent(now);
        let client = half_open::entry(&*forward, now).filter(|client| client.born() == born);
        if let Some(client) = client
            && client.silent(now) < silent
        {
            silent = client.silent(now);
        }
        if silent < spared {
            return Ok(YOUNG);
        }
        if client.is_some() {
            half_open::remove(&*forward, now);
        }
        half_open::remove(reply, now);
    }
    Ok(DONE)
}

macro_rules! functions {
    ($address:ty, $try:ident, $vacate:ident) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $try(row: u32, class: u32, now: u32, spared: u32) -> u32 {
            try_one::<$address>(row, class, now, spared).unwrap_or(NONE)
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $vacate(now: u32, spared: u32) -> u32 {
            // What names a backend or a listener that is not there is no flow.
            vacate::<$address>(now, spared).unwrap_or(DONE)
        }

        impl Binds for $address {
            #[inline(always)]
            fn try_one(row: u32, class: u32, now: u32, spared: u32) -> u32 {
                $try(row, class, now, spared)
            }
            #[inline(always)]
            fn vacate(now: u32, spared: u32) -> u32 {
                $vacate(now, spared)
            }
        }
    };
}

functions!(Addr4, try_nat_port_v4, vacate_v4);
functions!(Addr6, try_nat_port_v6, vacate_v6);
