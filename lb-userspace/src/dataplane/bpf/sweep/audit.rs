//! Whether the books balance (P9): opened − closed of a backend against its open
//! flows in the table.
//!
//! Both are read while packets come and go. They can only be compared for a
//! backend whose counters stood still during a whole round; and a difference is
//! only reported when the next such round finds the same.
//!
//! An agent that was killed may have taken flows out of the table and not lived to
//! note that in the books: who comes after it does.

use std::collections::{BTreeMap, BTreeSet};

use lb_common::abi::counter::BackendCounters;

use crate::model::BackendIndex;

#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Differences of the last round: what was counted and found.
    suspects: BTreeMap<BackendIndex, (u64, u64)>,
    reported: BTreeMap<BackendIndex, (u64, u64)>,
    /// Whose books have balanced since this agent began.
    balanced: BTreeSet<BackendIndex>,
}

/// A difference that is there for sure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// So many flows have ended under an earlier agent that did not note it.
    Inherited(u64),
    /// The books are wrong.
    Wrong,
}

/// A backend before and after a round, and what the round has found of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) before: BackendCounters,
    pub(super) after: BackendCounters,
    pub(super) found: u64,
}

impl Audit {
    /// Takes in a round; returns what differs for sure. The same difference is
    /// returned once.
    pub(super) fn round(
        &mut self,
        samples: impl IntoIterator<Item = (BackendIndex, Sample)>,
    ) -> Vec<(BackendIndex, Sample, Difference)> {
        let mut differences = Vec::new();
        for (backend, sample) in samples {
            let still = (sample.before.opened, sample.before.closed)
                == (sample.after.opened, sample.after.closed);
            if !still {
                self.suspects.remove(&backend);
                continue;
            }
            // A deficit is as wrong as a surplus, so this does not saturate.
            let counted = sample.after.opened.wrapping_sub(sample.after.closed);
            if counted == sample.found {
                self.suspects.remove(&backend);
                self.reported.remove(&backend);
                self.balanced.insert(backend);
                continue;
            }
            let difference = (counted, sample.found);
            let again = self.suspects.insert(backend, difference) == Some(difference);
            if again && self.reported.insert(backend, difference) != Some(difference) {
                let difference = match counted.checked_sub(sample.found) {
                    // More closed than opened wraps, and no agent leaves that.
                    Some(surplus) if counted <= sample.after.opened => {
                        if self.balanced.contains(&backend) {
                            Difference::Wrong
                        } else {
                            Difference::Inherited(surplus)
                        }
                    }
                    _ => Difference::Wrong,
                };
                differences.push((backend, sample, difference));
            }
        }
        differences
    }

    /// The index is another backend's from now on.
    pub(super) fn forget(&mut self, backend: BackendIndex) {
        self.suspects.remove(&backend);
        self.reported.remove(&backend);
        self.balanced.remove(&backend);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(opened: u64, closed: u64) -> BackendCounters {
        BackendCounters {
            opened,
            closed,
            ..BackendCounters::default()
        }
    }

    fn still(opened: u64, closed: u64, found: u64) -> [(BackendIndex, Sample); 1] {
        let row = row(opened, closed);
        [(
            1,
            Sample {
                before: row,
                after: row,
                found,
            },
        )]
    }

    #[test]
    fn books_that_balance_are_not_reported() {
        let mut audit = Audit::default();
        for _ in 0..3 {
            assert!(audit.round(still(10, 4, 6)).is_empty());
        }
    }

    #[test]
    fn a_difference_is_reported_once_when_it_lasts() {
        let mut audit = Audit::default();
        assert!(audit.round(still(10, 4, 5)).is_empty());
        assert_eq!(audit.round(still(10, 4, 5)).len(), 1);
        assert!(audit.round(still(10, 4, 5)).is_empty());
        assert!(audit.round(still(10, 4, 6)).is_empty());
        audit.round(still(10, 4, 5));
        assert_eq!(audit.round(still(10, 4, 5)).len(), 1, "it came back");
    }

    #[test]
    fn what_an_earlier_agent_did_not_note_is_told_from_what_is_wrong() {
        let differences = |audit: &mut Audit, row| {
            let found = audit.round(row).into_iter();
            found
                .map(|(_, _, difference)| difference)
                .collect::<Vec<_>>()
        };
        let mut audit = Audit::default();
        assert_eq!(differences(&mut audit, still(10, 4, 2)), []);
        let inherited = Difference::Inherited(4);
        assert_eq!(differences(&mut audit, still(10, 4, 2)), [inherited]);
        // It is noted, and from now on the books are this agent's.
        assert_eq!(differences(&mut audit, still(10, 8, 2)), []);
        assert_eq!(differences(&mut audit, still(10, 8, 1)), []);
        assert_eq!(
            differences(&mut audit, still(10, 8, 1)),
            [Difference::Wrong]
        );
        // Fewer counted than found is nobody's legacy.
        let mut audit = Audit::default();
        assert_eq!(differences(&mut audit, still(10, 4, 7)), []);
        assert_eq!(
            differences(&mut audit, still(10, 4, 7)),
            [Difference::Wrong]
        );
    }

    #[test]
    fn nothing_is_said_of_counters_that_move() {
        let mut audit = Audit::default();
        for found in [0, 0, 0] {
            let moving = Sample {
                before: row(10, 4),
                after: row(11, 4),
                found,
            };
            assert!(audit.round([(1, moving)]).is_empty());
        }
    }

    #[test]
    fn more_closed_than_opened_is_a_difference_too() {
        let mut audit = Audit::default();
        audit.round(still(4, 5, 0));
        let found = audit.round(still(4, 5, 0));
        assert!(
            matches!(found[..], [(1, _, Difference::Wrong)]),
            "{found:?}"
        );
    }
}
