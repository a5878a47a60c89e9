//! The kernel program of ebb: one straight way for a packet.
//!
//! How it gets at a packet, at whichever hook, is in the [library](lb_ebpf) of this
//! crate. The modules here, from the bottom up; each imports only what stands before
//! it:
//!
//! - [`atomic`]: atomic operations. [`rate`]: a limit to what we send ourselves.
//! - [`packet`]: a TCP or UDP packet, read.
//! - [`scratch`]: room for what the stack has not.
//! - [`maps`], [`family`]: the tables, and which of them a family uses.
//! - [`clock`]: the time.
//! - [`flow`], [`half_open`]: the flows, established and not yet.
//! - [`classify`], [`select`]: whose packet it is, and which backend's.
//! - [`parse`]: packets of any shape.
//! - [`rewrite`]: what is done to a packet, and out it goes.
//! - [`reset`], [`icmp_error`]: answers made of the packet itself.
//! - [`fast`]: the hit path, and what is not ours. [`slow`]: everything else.
//!
//! A step returns what it found, or the [`Verdict`] that ends the way.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "a key that is passed by value is copied, and the stack is 512 bytes"
)]

// On the host the crate is only checked, never run; there std brings the panic
// handler, because another member of the workspace may bring std.
#[cfg(not(target_arch = "bpf"))]
extern crate std;

mod atomic;
mod classify;
mod clock;
mod family;
mod fast;
mod flow;
mod half_open;
mod icmp_error;
mod maps;
mod packet;
mod parse;
mod rate;
mod reset;
mod rewrite;
mod scratch;
mod select;
mod slow;

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        counter::{Verdict, What},
    },
    wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::{Hook as _, xdp::Xdp},
    ip,
};

use crate::{
    fast::Fast,
    half_open::HalfOpen,
    scratch::Room,
    slow::step::{Next, Step},
};

/// The kernel grants its GPL-only helpers to programs that name this licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// The program: forwards what is of a flow or begins one, leaves the rest.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn ebb(context: XdpContext) -> u32 {
    // SAFETY: this is the context that the kernel passed.
    let hook = unsafe { Xdp::new(context.ctx) };
    let cursor = Cursor::new(hook);
    let Ok(ethernet) = cursor.read::<wire::Ethernet>(0) else {
        return end(hook, Verdict::Malformed);
    };
    match ethernet.kind() {
        wire::ETHERTYPE_IPV4 => match fast::path::<_, Addr4>(cursor) {
            Ok(Fast::Done(action)) => action,
            Ok(Fast::Look) => watched(context.ctx, slow_v4(context.ctx, 0)),
            Ok(Fast::Miss) => watched(context.ctx, slow_v4(context.ctx, 1)),
            Err(verdict) => end(hook, verdict),
        },
        wire::ETHERTYPE_IPV6 => match fast::path::<_, Addr6>(cursor) {
            Ok(Fast::Done(action)) => action,
            Ok(Fast::Look) => watched(context.ctx, slow_v6(context.ctx, 0)),
            Ok(Fast::Miss) => watched(context.ctx, slow_v6(context.ctx, 1)),
            Err(verdict) => end(hook, verdict),
        },
        wire::ETHERTYPE_VLAN | wire::ETHERTYPE_QINQ => match ip::link(&cursor) {
            Ok((_, wire::ETHERTYPE_IPV4)) => slow_v4(context.ctx, 0),
            Ok((_, wire::ETHERTYPE_IPV6)) => slow_v6(context.ctx, 0),
            Ok(_) => end(hook, Verdict::NotOurs),
            Err(verdict) => end(hook, verdict),
        },
        _ => end(hook, Verdict::NotOurs),
    }
}

// The slow path of a family is a chain of functions, each verified by itself: the hit
// path stays small, and its stack too. `extern "C"` with the bare context is the form
// that the verifier accepts, and it wants to see it compared with null. `missed` is not
// 0 if the hit path found no established flow.

macro_rules! slow_path {
    ($address:ty, $slow:ident, $read:ident, $connection:ident, $icmp:ident, $send:ident,
     $answer:ident) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $slow(context: *mut xdp_md, missed: u32) -> u32 {
            const CONNECTION: u32 = Next::Connection.code();
            const ICMP: u32 = Next::Icmp.code();
            const SEND: u32 = Next::Send.code();
            const ANSWER: u32 = Next::Answer.code();
            let decided = match $read(context) {
                CONNECTION => $connection(context, missed),
                ICMP => $icmp(context),
                action => return action,
            };
            match decided {
                SEND => $send(context),
                ANSWER => $answer(context),
                action => action,
            }
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $read(context: *mut xdp_md) -> u32 {
            step(context, |cursor, room: &mut Room<$address>| {
                slow::read::read(&cursor, room)
            })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $connection(context: *mut xdp_md, missed: u32) -> u32 {
            step(context, |cursor, room: &mut Room<$address>| {
                slow::connection::connection(&cursor, room, missed != 0)
            })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $icmp(context: *mut xdp_md) -> u32 {
            step(context, |cursor, room: &mut Room<$address>| {
                slow::icmp::message(cursor, room)
            })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $send(context: *mut xdp_md) -> u32 {
            act(context, |cursor, room: &mut Room<$address>| {
                slow::act::send(cursor, room)
            })
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $answer(context: *mut xdp_md) -> u32 {
            act(context, |cursor, room: &mut Room<$address>| {
                let Room {
                    packet, scratch, ..
                } = room;
                slow::act::answer(cursor, packet, &scratch.answer)?;
                count(scratch.answer.verdict);
                // SAFETY: this is the context that the kernel passed.
                Ok(unsafe { Xdp::new(context) }.end(What::Answer))
            })
        }
    };
}

slow_path!(
    Addr4,
    slow_v4,
    read_v4,
    connection_v4,
    icmp_v4,
    send_v4,
    answer_v4
);
slow_path!(
    Addr6,
    slow_v6,
    read_v6,
    connection_v6,
    icmp_v6,
    send_v6,
    answer_v6
);

/// One function of the slow path, which finds who goes on.
#[inline(always)]
fn step<A: HalfOpen>(
    context: *mut xdp_md,
    decide: impl FnOnce(Cursor<Xdp>, &mut Room<A>) -> Step,
) -> u32 {
    act(context, |cursor, room| Ok(decide(cursor, room)?.code()))
}

/// One function of the slow path, whose result is returned.
#[inline(always)]
fn act<A: HalfOpen>(
    context: *mut xdp_md,
    act: impl FnOnce(Cursor<Xdp>, &mut Room<A>) -> Result<u32, Verdict>,
) -> u32 {
    if context.is_null() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: `ebb` passes its own context on.
    let hook = unsafe { Xdp::new(context) };
    family::room::<A>()
        .and_then(|room| act(Cursor::new(hook), room))
        .unwrap_or_else(|verdict| end(hook, verdict))
}

/// Logs the packet that should not have happened, if the agent asked for that.
#[inline(always)]
fn watched(context: *mut xdp_md, action: u32) -> u32 {
    if action == xdp_action::XDP_ABORTED {
        log_internal(context);
    }
    action
}

/// The one thing that is logged from here: the kernel refused a helper call, or a
/// rule of our own is broken. The agent sets the level when it loads the program;
/// at level 0, the default, the verifier takes this out.
#[inline(never)]
fn log_internal(context: *mut xdp_md) {
    let context = XdpContext::new(context);
    aya_log_ebpf::error!(
        &context,
        "an internal error dropped a packet of {} bytes that came in by interface {}",
        context.data_end() - context.data(),
        context.ingress_ifindex()
    );
}

/// Counts a verdict and gives the action that it stands for.
#[inline(always)]
fn end(hook: Xdp, verdict: Verdict) -> u32 {
    count(verdict as u32);
    hook.end(verdict.what())
}

#[inline(always)]
fn count(verdict: u32) {
    if let Some(counter) = maps::VERDICT_COUNTERS.get_ptr_mut(verdict) {
        // SAFETY: this CPU's own counter; XDP is not preempted by itself.
        unsafe { *counter += 1 };
    }
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
