//! The time, for the price of a load.
//!
//! The kernel's coarse clock is three calls deep, and on machines that guard
//! their returns each of them costs as much as a look-up in an array. But it
//! moves with the jiffies, and those a program reads without any call. So who
//! first sees a new jiffy asks the clock, and notes the answer for all.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use lb_common::abi::flow::TICK_SHIFT;

use crate::maps;

/// The time in ticks. It moves every 1 to 10 ms, as the kernel is configured,
/// and lags by at most two of these steps; flows need no more.
#[inline(always)]
pub(crate) fn now() -> u32 {
    // SAFETY: the helper takes nothing and always works.
    let jiffy = unsafe { bpf_jiffies64() } as u32;
    let Some(note) = maps::CLOCK.get_ptr_mut(0) else {
        return coarse();
    };
    // SAFETY: the note is one aligned word, which every CPU reads and writes
    // whole; which one writes it last does not matter.
    let noted = unsafe { *note };
    if (noted >> 32) as u32 == jiffy {
        return noted as u32;
    }
    let ticks = coarse();
    // SAFETY: as above.
    unsafe { *note = (jiffy as u64) << 32 | ticks as u64 };
    ticks
}

#[inline(always)]
fn coarse() -> u32 {
    // SAFETY: the helper takes nothing and always works.
    (unsafe { bpf_ktime_get_coarse_ns() } >> TICK_SHIFT) as u32
}
