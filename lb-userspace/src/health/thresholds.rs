//! When results of checks change what a backend is held for. Pure counting.

use crate::model::{Standing, Thresholds};

/// The results of one backend's checks, as far as they still matter.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    standing: Standing,
    /// Results in a row that speak against the standing.
    against: u8,
}

impl Tally {
    /// A backend that is held for `standing` already.
    #[must_use]
    pub fn new(standing: Standing) -> Self {
        Self {
            standing,
            against: 0,
        }
    }

    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Results in a row that speak against the standing.
    #[must_use]
    pub fn against(&self) -> u8 {
        self.against
    }

    /// Counts one more result and says what the backend is held for now.
    pub fn count(&mut self, passed: bool, thresholds: Thresholds) -> Standing {
        let (needed, other) = match (self.standing, passed) {
            (Standing::Healthy, true) | (Standing::Unhealthy, false) => {
                self.against = 0;
                return self.standing;
            }
            (Standing::New, true) => (1, Standing::Healthy),
            (Standing::New | Standing::Healthy, false) => {
                (thresholds.unhealthy, Standing::Unhealthy)
            }
            (Standing::Unhealthy, true) => (thresholds.healthy, Standing::Healthy),
        };
        self.against = self.against.saturating_add(1);
        if self.against >= needed {
            *self = Self::new(other);
        }
        self.standing
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::THRESHOLD;

    const THREE_UP_TWO_DOWN: Thresholds = Thresholds {
        unhealthy: 2,
        healthy: 3,
    };

    fn after(standing: Standing, results: &[bool], thresholds: Thresholds) -> Standing {
        let mut tally = Tally::new(standing);
        for passed in results {
            tally.count(*passed, thresholds);
        }
        tally.standing()
    }

    #[test]
    fn the_first_pass_puts_a_new_backend_into_service() {
        let after = |results: &[bool]| after(Standing::New, results, THREE_UP_TWO_DOWN);
        assert_eq!(after(&[]), Standing::New);
        assert_eq!(after(&[true]), Standing::Healthy);
        assert_eq!(after(&[false, true]), Standing::Healthy);
    }

    #[test]
    fn a_new_backend_that_fails_often_enough_is_unhealthy() {
        let after = |results: &[bool]| after(Standing::New, results, THREE_UP_TWO_DOWN);
        assert_eq!(after(&[false]), Standing::New);
        assert_eq!(after(&[false, false]), Standing::Unhealthy);
        assert_eq!(after(&[false, false, true]), Standing::Unhealthy);
    }

    #[test]
    fn after_that_the_thresholds_rule() {
        let healthy = |results: &[bool]| after(Standing::Healthy, results, THREE_UP_TWO_DOWN);
        assert_eq!(healthy(&[false]), Standing::Healthy);
        assert_eq!(healthy(&[false, false]), Standing::Unhealthy);
        let unhealthy = |results: &[bool]| after(Standing::Unhealthy, results, THREE_UP_TWO_DOWN);
        assert_eq!(unhealthy(&[true, true]), Standing::Unhealthy);
        assert_eq!(unhealthy(&[true, true, true]), Standing::Healthy);
    }

    #[test]
    fn only_results_in_a_row_count() {
        let healthy = |results: &[bool]| after(Standing::Healthy, results, THREE_UP_TWO_DOWN);
        assert_eq!(
            healthy(&[false, true, false, true, false]),
            Standing::Healthy
        );
        let unhealthy = |results: &[bool]| after(Standing::Unhealthy, results, THREE_UP_TWO_DOWN);
        assert_eq!(
            unhealthy(&[true, true, false, true, true]),
            Standing::Unhealthy
        );
    }

    proptest! {
        /// The rule, told from the other side: a standing changes when and
        /// only when the last results are all against it and long enough.
        #[test]
        fn a_standing_changes_exactly_when_its_threshold_is_met(
            results in proptest::collection::vec(any::<bool>(), 0..200),
            unhealthy in THRESHOLD,
            healthy in THRESHOLD,
        ) {
            let thresholds = Thresholds { unhealthy, healthy };
            let mut tally = Tally::default();
            let mut since_change = 0;
            for (index, passed) in results.iter().enumerate() {
                let before = tally.standing();
                let after = tally.count(*passed, thresholds);
                since_change += 1;
                let run = results[..=index]
                    .iter()
                    .rev()
                    .take(since_change)
                    .take_while(|result| *result == passed)
                    .count();
                let needed = match (before, passed) {
                    (Standing::New, true) => 1,
                    (Standing::Unhealthy, true) => usize::from(healthy),
                    (Standing::New | Standing::Healthy, false) => usize::from(unhealthy),
                    (Standing::Healthy, true) | (Standing::Unhealthy, false) => usize::MAX,
                };
                prop_assert_eq!(before != after, run >= needed);
                if before != after {
                    let expected = if *passed { Standing::Healthy } else { Standing::Unhealthy };
                    prop_assert_eq!(after, expected);
                    since_change = 0;
                }
            }
        }
    }
}
