//! The ports of nat, as the program works on them:
//! [`lb_common::abi::nat_port`] says what they are.
//!
//! Taking and putting are functions of their own: the verifier walks through each of them
//! once, however often they are called.

use lb_common::abi::{
    address::{Addr4, Addr6},
    flow::{FlowKey, KEEPS_SOURCE},
    nat_port::{self, Class, PROBES, ROW_LEN, Taken, Words},
};

use crate::{atomic, family::Family, maps};

/// The rows. The agent sets it together with the size of the map, when it loads the
/// program.
#[unsafe(no_mangle)]
static NAT_PORT_ROWS: u32 = maps::NAT_PORT_ROWS;

/// The ports between a source address and a backend.
#[derive(Clone, Copy)]
pub(crate) struct Row(pub(crate) u32);

impl Row {
    /// Takes the next port of a class.
    #[inline(always)]
    pub(crate) fn take(self, class: u32) -> Taken {
        match take_nat_port(self.0, class) {
            0 => Taken::None,
            1 => Taken::Again,
            found => Taken::Place(found - 2),
        }
    }

    /// What was taken is of its class again.
    #[inline(always)]
    pub(crate) fn put_back(self, place: u32, class: u32) {
        put_nat_port(self.0, place, class);
    }
}

/// A family whose flows have ports.
pub(crate) trait NatPorts: Family {
    /// The number of the flow's [`Row`], by the tuple of its backend's packets.
    fn row(reply: &FlowKey<Self>) -> u32;
    fn put_port(reply: &FlowKey<Self>, class: u32);
}

/// The port of a flow in this `state`, by the tuple of its backend's packets, is of this class
/// from now on. One that keeps its client's port has none of ours.
#[inline(always)]
pub(crate) fn put<A: NatPorts>(state: u32, reply: &FlowKey<A>, class: Class) {
    if state & KEEPS_SOURCE == 0 {
        A::put_port(reply, class as u32);
    }
}

/// The number of the row of a flow.
#[inline(always)]
fn row_of<A: Family>(reply: &FlowKey<A>) -> u32 {
    let Some(settings) = maps::SETTINGS.get(0) else {
        return 0;
    };
    // SAFETY: a constant of the program, which the loader may have changed.
    let rows = unsafe { (&raw const NAT_PORT_ROWS).read_volatile() };
    let owner = nat_port::owner(reply, settings.nat_seed);
    for probe in 0..PROBES {
        let index = owner.row(probe, rows);
        if row(index).is_some_and(|row| owner.has(&row)) {
            return index;
        }
    }
    owner.row(0, rows)
}

#[inline(always)]
fn put_one<A: NatPorts>(reply: &FlowKey<A>, class: u32) {
    let Some(settings) = maps::SETTINGS.get(0) else {
        return;
    };
    let port = reply.ports.destination();
    // One that nobody is to have any more: flows of an earlier configuration have it.
    let is_ours = settings.nat_port_first <= port && port <= settings.nat_port_last;
    if is_ours || class != Class::Free as u32 {
        let place = nat_port::place(port, settings.nat_seed);
        put_nat_port(A::row(reply), place, class);
    }
}

/// A row in the map.
struct Place(*mut u64);

impl Place {
    /// A word of the row; the first where there is no such word.
    #[inline(always)]
    fn word(&self, at: u32) -> *mut u64 {
        let mut at = unknown(u64::from(at));
        if at >= ROW_LEN as u64 {
            at = 0;
        }
        // SAFETY: within the row.
        unsafe { self.0.add(unknown(at) as usize) }
    }
}

impl Words for Place {
    #[inline(always)]
    fn load(&self, at: u32) -> u64 {
        // SAFETY: a word of the row, which others may write, atomically.
        unsafe { self.word(at).read_volatile() }
    }
    #[inline(always)]
    fn set(&self, at: u32, bits: u64) -> u64 {
        // SAFETY: a word of the row. They are written atomically but for the first, which
        // nobody sets bits of.
        unsafe { atomic::fetch_or(self.word(at), bits) }
    }
    #[inline(always)]
    fn clear(&self, at: u32, bits: u64) -> u64 {
        // SAFETY: as above.
        unsafe { atomic::fetch_and(self.word(at), !bits) }
    }
    #[inline(always)]
    fn write_cursor(&self, cursor: u64) {
        // SAFETY: the first word; whichever CPU's is left there is as good.
        unsafe { self.0.write_volatile(cursor) }
    }
    #[inline(always)]
    fn take_over(&self, owner: u64) -> bool {
        // SAFETY: the second word, which is written atomically only.
        unsafe { atomic::exchange(self.0.add(nat_port::owner_word()), 0, owner) }
    }
    #[inline(always)]
    fn count_bound(&self, more: u64) {
        // SAFETY: the third word, which is written atomically only.
        unsafe { atomic::add(self.0.add(nat_port::count_word()), more) }
    }
}

/// The same number, of which the compiler knows nothing: a bound that is checked between two
/// of these is checked on the register that the verifier sees used, and is not left out
/// because of a mask that the verifier has lost sight of (that of Linux 6.1 does, where the
/// compiler works in 32 bits).
#[inline(always)]
fn unknown(number: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // An instruction there must be: the kernel refuses two lines of source at one.
        // SAFETY: a register is moved to itself.
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) number, options(nostack, nomem, pure));
        }
        number
    }
    // For the editor on the host.
    #[cfg(not(target_arch = "bpf"))]
    {
        number
    }
}

#[inline(always)]
fn row(index: u32) -> Option<Place> {
    maps::NAT_PORTS
        .get_ptr_mut(index)
        .map(|row| Place(row.cast()))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn take_nat_port(index: u32, class: u32) -> u32 {
    let Some(row) = row(index) else {
        return 0;
    };
    // Nothing here says how great it is at most, or the compiler would leave the mask out
    // that says so to the verifier.
    match nat_port::take_from(&row, class) {
        Taken::None => 0,
        Taken::Again => 1,
        Taken::Place(place) => place + 2,
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn put_nat_port(index: u32, place: u32, class: u32) -> u32 {
    if let Some(row) = row(index) {
        nat_port::put_in(&row, place, class);
    }
    0
}

// As in `half_open`: pointers to what has a size, compared with null.

macro_rules! functions {
    ($address:ty, $row:ident, $put:ident) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $row(reply: *const FlowKey<$address>) -> u32 {
            // SAFETY: callers pass a reference; the verifier has seen that.
            match unsafe { reply.as_ref() } {
                Some(reply) => row_of(reply),
                None => 0,
            }
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $put(reply: *const FlowKey<$address>, class: u32) -> u32 {
            // SAFETY: callers pass a reference; the verifier has seen that.
            if let Some(reply) = unsafe { reply.as_ref() } {
                put_one(reply, class);
            }
            0
        }

        impl NatPorts for $address {
            #[inline(always)]
            fn row(reply: &FlowKey<Self>) -> u32 {
                $row(reply)
            }
            #[inline(always)]
            fn put_port(reply: &FlowKey<Self>, class: u32) {
                $put(reply, class);
            }
        }
    };
}

functions!(Addr4, nat_port_row_v4, put_nat_port_v4);
functions!(Addr6, nat_port_row_v6, put_nat_port_v6);
