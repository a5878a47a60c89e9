//! What XDP has sent on and the kernel has lost, after the packet's way had ended: the
//! interface that it was for takes no frames from XDP, is down, or its queue is full.
//!
//! The kernel says so by tracepoints, of every XDP program on the host; nobody else runs
//! where ebb does, so they are counted as its own. The numbers of the arguments are those
//! of `TP_PROTO` in the kernel's `include/trace/events/xdp.h`, the same since Linux 5.6.

use aya_ebpf::{bindings::xdp_action, macros::raw_tracepoint, programs::RawTracePointContext};
use lb_common::abi::counter::Verdict;

use crate::maps;

/// The kernel refused to send a frame to an interface.
#[raw_tracepoint(tracepoint = "xdp_redirect_err")]
fn lost_redirect(_: RawTracePointContext) -> u32 {
    count(1)
}

/// Frames were given to an interface: how many it did not take.
#[raw_tracepoint(tracepoint = "xdp_devmap_xmit")]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn lost_by_interface(context: RawTracePointContext) -> u32 {
    count(context.arg::<i32>(3))
}

/// As above, for frames that leave by the interface that they came by.
#[raw_tracepoint(tracepoint = "xdp_bulk_tx")]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn lost_on_return(context: RawTracePointContext) -> u32 {
    count(context.arg::<i32>(2))
}

/// A driver could not do what a program had decided. What has no action, the program has
/// counted itself.
#[raw_tracepoint(tracepoint = "xdp_exception")]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn lost_by_driver(context: RawTracePointContext) -> u32 {
    match context.arg::<u32>(2) {
        xdp_action::XDP_TX | xdp_action::XDP_REDIRECT => count(1),
        _ => 0,
    }
}

#[inline(always)]
fn count(frames: i32) -> u32 {
    if frames > 0
        && let Some(counter) = maps::VERDICT_COUNTERS.get_ptr_mut(Verdict::DropLost as u32)
    {
        // SAFETY: this CPU's own value; at worst a tracepoint that interrupts another one
        // here takes its count.
        unsafe { *counter += frames as u64 }
    }
    0
}
