//! The time as flow entries have it.

use lb_common::abi::flow::TICK_SHIFT;
use rustix::time::{ClockId, clock_gettime};

/// A point in time on `CLOCK_MONOTONIC`, in ticks; it wraps after 52 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tick(pub(super) u32);

impl Tick {
    pub(super) fn now() -> Self {
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
        Self((now >> TICK_SHIFT) as u32)
    }

    /// The ticks since `then`; 0 if that is after this: the kernel's clock may
    /// be a tick ahead of what was read here before.
    pub(super) fn since(self, then: u32) -> u32 {
        let passed = self.0.wrapping_sub(then);
        if passed > u32::MAX / 2 { 0 } else { passed }
    }
}

/// A number of ticks as a duration.
pub(super) fn duration(ticks: u32) -> std::time::Duration {
    std::time::Duration::from_nanos(u64::from(ticks) << TICK_SHIFT)
}

/// A duration in ticks, rounded up and at most what a difference can show.
pub(super) fn ticks(duration: std::time::Duration) -> u32 {
    let ticks = duration.as_nanos().div_ceil(1 << TICK_SHIFT);
    u32::try_from(ticks).unwrap_or(u32::MAX).min(u32::MAX / 2)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn differences_survive_the_wrap() {
        assert_eq!(Tick(5).since(u32::MAX - 4), 10);
        assert_eq!(Tick(u32::MAX).since(u32::MAX), 0);
    }

    #[test]
    fn what_is_a_little_in_the_future_is_now() {
        assert_eq!(Tick(100).since(103), 0);
    }

    #[test]
    fn durations_come_back_from_ticks_within_one() {
        for ms in [1_u64, 300, 10_000, 350_000, 4_000_000] {
            let there = Duration::from_millis(ms);
            let back = duration(ticks(there));
            assert!(
                back >= there && back - there < duration(1),
                "{there:?} {back:?}"
            );
        }
        assert_eq!(ticks(Duration::MAX), u32::MAX / 2);
    }

    #[test]
    fn the_clock_goes_on() {
        let before = Tick::now();
        while Tick::now() == before {
            std::hint::spin_loop();
        }
        assert!(Tick::now().since(before.0) >= 1);
    }
}
