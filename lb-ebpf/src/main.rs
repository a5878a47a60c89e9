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
//! - [`reset`], [`icmp`]: answers made of the packet itself.
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
mod icmp;
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
        counter::Verdict,
    },
    wire,
};

use lb_ebpf::{
    cursor::Cursor,
    hook::{Hook as _, xdp::Xdp},
    ip,
};

use crate::{fast::Fast, half_open::HalfOpen};

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

// The slow ways are functions of their own, verified by themselves: the hit
// path stays small, and its stack too. `extern "C"` with the bare context is
// the form that the verifier accepts. `missed` is not 0 if the hit path found
// no established flow.

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn slow_v4(context: *mut xdp_md, missed: u32) -> u32 {
    slow::<Addr4>(context, missed != 0)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn slow_v6(context: *mut xdp_md, missed: u32) -> u32 {
    slow::<Addr6>(context, missed != 0)
}

#[inline(always)]
fn slow<A: HalfOpen>(context: *mut xdp_md, missed: bool) -> u32 {
    if context.is_null() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: `ebb` passes its own context on.
    let hook = unsafe { Xdp::new(context) };
    slow::path::<_, A>(Cursor::new(hook), missed).unwrap_or_else(|verdict| end(hook, verdict))
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
    if let Some(counter) = maps::VERDICT_COUNTERS.get_ptr_mut(verdict as u32) {
        // SAFETY: this CPU's own counter; XDP is not preempted by itself.
        unsafe { *counter += 1 };
    }
    hook.end(verdict.what())
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
