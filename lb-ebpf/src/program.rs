//! What the programs of all hooks have in common: the dispatch by family, and the slow
//! path as a chain of functions that the verifier walks through one by one.

use lb_common::{
    abi::{
        address::{Addr4, Addr6, Address},
        counter::{Verdict, What},
    },
    tunnel::Outer,
    wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook, ip};

use crate::{
    family,
    fast::{self, Fast},
    half_open::HalfOpen,
    maps,
    scratch::Room,
    slow::{self, bind::Binds, step::Step},
};

/// A packet's way: the hit path, or the slow path of its family, given `missed`.
#[inline(always)]
pub(crate) fn enter<H: Hook>(
    hook: H,
    slow_v4: impl Fn(u32) -> u32,
    slow_v6: impl Fn(u32) -> u32,
) -> u32 {
    let cursor = Cursor::new(hook);
    let Ok(ethernet) = cursor.read::<wire::Ethernet>(0) else {
        return end(hook, Verdict::Malformed);
    };
    match ethernet.kind() {
        wire::ETHERTYPE_IPV4 => match fast::path::<_, Addr4>(cursor) {
            Ok(Fast::Done(action)) => action,
            // What cannot be read is looked at once more: it may be to a VIP.
            Ok(Fast::Look) | Err(Verdict::Malformed) => slow_v4(0),
            Ok(Fast::Miss) => slow_v4(1),
            Err(verdict) => end(hook, verdict),
        },
        wire::ETHERTYPE_IPV6 => match fast::path::<_, Addr6>(cursor) {
            Ok(Fast::Done(action)) => action,
            Ok(Fast::Look) | Err(Verdict::Malformed) => slow_v6(0),
            Ok(Fast::Miss) => slow_v6(1),
            Err(verdict) => end(hook, verdict),
        },
        wire::ETHERTYPE_VLAN | wire::ETHERTYPE_QINQ => match ip::link(&cursor) {
            Ok((_, wire::ETHERTYPE_IPV4)) => slow_v4(0),
            Ok((_, wire::ETHERTYPE_IPV6)) => slow_v6(0),
            Ok(_) => end(hook, Verdict::NotOurs),
            Err(verdict) => end(hook, verdict),
        },
        _ => end(hook, Verdict::NotOurs),
    }
}

/// Writes out the functions of the slow path for a hook and a family. `$null` is the
/// action if there is no context, which never is.
///
/// They are functions of their own so that the hit path stays small, and its stack
/// too. `extern "C"` with the bare context is the form that the verifier accepts, and
/// it wants to see it compared with null. `missed` is not 0 if the hit path found no
/// established flow.
macro_rules! slow_path {
    ($hook:ty, $context:ty, $null:expr, $address:ty, $slow:ident, $read:ident, $connection:ident,
     $bind:ident, $icmp:ident, $send:ident, $answer:ident, $tunnel:ident, inside $inside_v4:ident,
     $inside_v6:ident) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $slow(context: *mut $context, missed: u32) -> u32 {
            use $crate::slow::step::Next;
            const CONNECTION: u32 = Next::Connection.code();
            const BIND: u32 = Next::Bind.code();
            const ICMP: u32 = Next::Icmp.code();
            const SEND: u32 = Next::Send.code();
            const ANSWER: u32 = Next::Answer.code();
            const TUNNEL_V4: u32 = Next::TunnelV4.code();
            const TUNNEL_V6: u32 = Next::TunnelV6.code();
            let decided = match $read(context) {
                CONNECTION => match $connection(context, missed) {
                    BIND => $bind(context),
                    decided => decided,
                },
                ICMP => $icmp(context),
                action => return action,
            };
            match decided {
                SEND => match $send(context) {
                    ANSWER => $answer(context),
                    action => action,
                },
                ANSWER => $answer(context),
                TUNNEL_V4 => $inside_v4(context, $crate::program::is_v6::<$address>()),
                TUNNEL_V6 => $inside_v6(context, $crate::program::is_v6::<$address>()),
                action => action,
            }
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $read(context: *mut $context) -> u32 {
            if context.is_null() {
                return $null;
            }
            // SAFETY: the program passes its own context on.
            $crate::program::read::<_, $address>(unsafe { <$hook>::new(context) })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $connection(context: *mut $context, missed: u32) -> u32 {
            if context.is_null() {
                return $null;
            }
            // SAFETY: the program passes its own context on.
            let hook = unsafe { <$hook>::new(context) };
            $crate::program::connection::<_, $address>(hook, missed != 0)
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $bind(context: *mut $context) -> u32 {
            if context.is_null() {
                return $null;
            }
            // SAFETY: the program passes its own context on.
            $crate::program::bind::<_, $address>(unsafe { <$hook>::new(context) })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $icmp(context: *mut $context) -> u32 {
            if context.is_null() {
                return $null;
            }
            // SAFETY: the program passes its own context on.
            $crate::program::icmp::<_, $address>(unsafe { <$hook>::new(context) })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $send(context: *mut $context) -> u32 {
            if context.is_null() {
                return $null;
            }
            // SAFETY: the program passes its own context on.
            $crate::program::send::<_, $address>(unsafe { <$hook>::new(context) })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $answer(context: *mut $context) -> u32 {
            if context.is_null() {
                return $null;
            }
            // SAFETY: the program passes its own context on.
            $crate::program::answer::<_, $address>(unsafe { <$hook>::new(context) })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $tunnel(context: *mut $context, outer_v6: u32) -> u32 {
            if context.is_null() {
                return $null;
            }
            // SAFETY: the program passes its own context on.
            let hook = unsafe { <$hook>::new(context) };
            $crate::program::tunnel::<_, $address>(hook, outer_v6 != 0)
        }
    };
}
pub(crate) use slow_path;

#[inline(always)]
pub(crate) fn read<H: Hook, A: HalfOpen>(hook: H) -> u32 {
    step(hook, |cursor, room: &mut Room<A>| {
        slow::read::read(&cursor, room)
    })
}

#[inline(always)]
pub(crate) fn connection<H: Hook, A: HalfOpen>(hook: H, missed: bool) -> u32 {
    // Not by `step`: a closure of this size becomes a function of its own, whose frame
    // is one too many for the 512 bytes of a chain of calls (Linux 6.1).
    let decided = match family::room::<A>() {
        Ok(room) => slow::connection::connection(&Cursor::new(hook), room, missed),
        Err(verdict) => Err(verdict),
    };
    match decided {
        Ok(next) => next.code(),
        Err(verdict) => end(hook, verdict),
    }
}

#[inline(always)]
pub(crate) fn bind<H: Hook, A: Binds>(hook: H) -> u32 {
    match slow::bind::bind::<A>() {
        Ok(next) => next.code(),
        Err(verdict) => end(hook, verdict),
    }
}

#[inline(always)]
pub(crate) fn icmp<H: Hook, A: HalfOpen>(hook: H) -> u32 {
    step(hook, |cursor, room: &mut Room<A>| {
        slow::icmp::message(cursor, room)
    })
}

#[inline(always)]
pub(crate) fn send<H: Hook, A: HalfOpen>(hook: H) -> u32 {
    act(hook, |cursor, room: &mut Room<A>| {
        slow::act::send(cursor, room)
    })
}

#[inline(always)]
pub(crate) fn answer<H: Hook, A: HalfOpen>(hook: H) -> u32 {
    act(hook, |cursor, room: &mut Room<A>| {
        let Room {
            packet, scratch, ..
        } = room;
        slow::act::answer(cursor, packet, &scratch.answer)?;
        count(scratch.answer.verdict);
        Ok(hook.end(What::Answer))
    })
}

/// Not 0 for IPv6.
#[inline(always)]
pub(crate) fn is_v6<A: Address>() -> u32 {
    A::V6 as u32
}

/// `A` is the family of what is inside of the tunnel; of the error itself, which is about
/// the outer header, there is left what its own family's room has.
#[inline(always)]
pub(crate) fn tunnel<H: Hook, A: HalfOpen>(hook: H, outer_v6: bool) -> u32 {
    let error = if outer_v6 {
        family::room::<Addr6>().map(|room| (Outer::V6, room.datagram.l4))
    } else {
        family::room::<Addr4>().map(|room| (Outer::V4, room.datagram.l4))
    };
    let told = error.and_then(|(outer, l4)| {
        let room = family::room::<A>()?;
        slow::tunnel::tell(Cursor::new(hook), room, outer, l4)
    });
    match told {
        Ok(action) => {
            count(Verdict::TunnelTooBig as u32);
            action
        }
        Err(verdict) => end(hook, verdict),
    }
}

/// One function of the slow path, which finds who goes on.
#[inline(always)]
fn step<H: Hook, A: HalfOpen>(
    hook: H,
    decide: impl FnOnce(Cursor<H>, &mut Room<A>) -> Step,
) -> u32 {
    act(hook, |cursor, room| Ok(decide(cursor, room)?.code()))
}

/// One function of the slow path, whose result is returned.
#[inline(always)]
fn act<H: Hook, A: HalfOpen>(
    hook: H,
    act: impl FnOnce(Cursor<H>, &mut Room<A>) -> Result<u32, Verdict>,
) -> u32 {
    family::room::<A>()
        .and_then(|room| act(Cursor::new(hook), room))
        .unwrap_or_else(|verdict| end(hook, verdict))
}

/// Counts a verdict and gives the action that it stands for.
#[inline(always)]
pub(crate) fn end<H: Hook>(hook: H, verdict: Verdict) -> u32 {
    if !is_left_to_tc::<H>(verdict) {
        count(verdict as u32);
    }
    hook.end(verdict.what())
}

/// Whether the packet comes to a program of ours once more, which has the last word on it.
#[inline(always)]
fn is_left_to_tc<H: Hook>(verdict: Verdict) -> bool {
    // That it was passed up is a count of its own.
    !H::REACHES_ALL
        && matches!(verdict.what(), What::Pass)
        && !matches!(verdict, Verdict::PassUp)
        && maps::TC_COUNTS.get(0).is_some_and(|counts| *counts != 0)
}

#[inline(always)]
fn count(verdict: u32) {
    if let Some(counter) = maps::VERDICT_COUNTERS.get_ptr_mut(verdict) {
        // SAFETY: this CPU's own counter; XDP is not preempted by itself.
        unsafe { *counter += 1 };
    }
}
