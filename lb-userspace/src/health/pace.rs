//! When checks are made. Pure: chance and time come in as arguments.

use std::time::Duration;

use tokio::time::Instant;

/// Backends that come together are begun with at this distance, so that a
/// start with a thousand of them is no burst, and a single one does not wait.
const APART: Duration = Duration::from_millis(5);

/// How far an interval may be from what was asked for, either way, so that
/// checks that once met do not go on meeting.
const JITTER: f64 = 0.1;

/// How long the first check of one of `newcomers` waits. `chance`: 0 to 1.
pub(super) fn first(newcomers: usize, interval: Duration, chance: f64) -> Duration {
    let newcomers = u32::try_from(newcomers).unwrap_or(u32::MAX);
    APART
        .saturating_mul(newcomers)
        .min(interval)
        .mul_f64(chance.clamp(0.0, 1.0))
}

/// When the check after the one that began at `begun` is due. `chance`: 0 to 1.
pub(super) fn next(begun: Instant, interval: Duration, chance: f64) -> Instant {
    begun + interval.mul_f64(1.0 + JITTER * (2.0 * chance.clamp(0.0, 1.0) - 1.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_backend_that_comes_alone_is_checked_at_once() {
        assert!(first(1, Duration::from_secs(30), 1.0) <= Duration::from_millis(5));
    }

    #[test]
    fn a_thousand_that_come_together_are_spread_over_the_interval() {
        let interval = Duration::from_secs(5);
        assert_eq!(first(1000, interval, 0.0), Duration::ZERO);
        assert_eq!(first(1000, interval, 0.5), interval / 2);
        assert_eq!(first(1000, interval, 1.0), interval);
        assert_eq!(first(usize::MAX, interval, 1.0), interval);
    }

    proptest! {
        #[test]
        fn an_interval_is_what_was_asked_for_give_or_take_a_tenth(
            seconds in 1_u64..=300,
            chance in 0.0..=1.0_f64,
        ) {
            let interval = Duration::from_secs(seconds);
            let begun = Instant::now();
            let gap = next(begun, interval, chance) - begun;
            prop_assert!(gap >= interval * 9 / 10 - Duration::from_millis(1), "{gap:?}");
            prop_assert!(gap <= interval * 11 / 10 + Duration::from_millis(1), "{gap:?}");
        }
    }
}
