//! A limit to what a CPU sends by itself: [`lb_common::abi::rate`].

use lb_common::abi::{counter::Verdict, rate::Kind};

use crate::{clock, maps};

/// Fails with `verdict` if enough of this kind were sent just now; else counts one.
#[inline(always)]
pub(crate) fn limit(kind: Kind, verdict: Verdict) -> Result<(), Verdict> {
    let rate = maps::RATES
        .get_ptr_mut(kind as u32)
        .ok_or(Verdict::DropInternal)?;
    // SAFETY: this CPU's own value; the program is not preempted by itself.
    if unsafe { &mut *rate }.allows(kind, clock::now()) {
        Ok(())
    } else {
        Err(verdict)
    }
}
