//! Whether the books balance (P9): opened − closed of a backend against its open
//! flows in the table.
//!
//! Both are read while packets come and go. They can only be compared for a
//! backend whose counters stood still during a whole round; and a difference is
//! only reported when the next such round finds the same.
//!
//! An agent that was killed may have taken flows out of the table and not lived to
//! note that in the books: who comes after it does. So all books are looked at until
//! those of everybody who was there have balanced. From then on only a mistake of ours
//! could make a difference, and where there are many backends they take turns.

use std::collections::BTreeMap;

use lb_common::abi::counter::BackendCounters;

use crate::model::BackendIndex;

#[derive(Debug, Default)]
pub(super) struct Audit {
    /// Differences of the last round: what was counted and found.
    suspects: BTreeMap<BackendIndex, (u64, u64)>,
    reported: BTreeMap<BackendIndex, (u64, u64)>,
    /// Whose books have balanced since this agent began, by index.
    balanced: Vec<bool>,
    /// There was a round after which nobody's had not.
    all_have: bool,
    /// Whose turn it is: those from this index on.
    next: BackendIndex,
}

/// So many take a turn together.
const TURN: usize = 2048;

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
    /// Of `backends`, in the order of their indices, those that the next round is to look at.
    pub(super) fn turn(
        &mut self,
        backends: impl Iterator<Item = BackendIndex>,
    ) -> Vec<BackendIndex> {
        let mut backends: Vec<_> = backends.collect();
        if !self.all_have || backends.len() <= TURN {
            return backends;
        }
        let mut first = backends.partition_point(|backend| *backend < self.next);
        if first == backends.len() {
            first = 0;
        }
        backends.drain(..first);
        backends.truncate(TURN);
        self.next = backends
            .last()
            .map_or(0, |last| last.checked_add(1).unwrap_or(0));
        backends
    }

    /// Takes in a round; returns what differs for sure. The same difference is
    /// returned once.
    pub(super) fn round(
        &mut self,
        samples: impl IntoIterator<Item = (BackendIndex, Sample)>,
    ) -> Vec<(BackendIndex, Sample, Difference)> {
        let mut differences = Vec::new();
        let (mut all_have, mut suspicious) = (true, None);
        for (backend, sample) in samples {
            all_have &= self.has_balanced(backend);
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
                self.set_balanced(backend, true);
                continue;
            }
            let difference = (counted, sample.found);
            let again = self.suspects.insert(backend, difference) == Some(difference);
            if !again {
                suspicious = suspicious.or(Some(backend));
            }
            if again && self.reported.insert(backend, difference) != Some(difference) {
                let difference = match counted.checked_sub(sample.found) {
                    // More closed than opened wraps, and no agent leaves that.
                    Some(surplus) if counted <= sample.after.opened => {
                        if self.has_balanced(backend) {
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
        if let (true, Some(suspicious)) = (self.all_have, suspicious) {
            // It has the next turn, too.
            self.next = suspicious;
        }
        self.all_have |= all_have;
        differences
    }

    fn has_balanced(&self, backend: BackendIndex) -> bool {
        self.balanced.get(usize::from(backend)) == Some(&true)
    }

    fn set_balanced(&mut self, backend: BackendIndex, has: bool) {
        let index = usize::from(backend);
        if self.balanced.len() <= index {
            self.balanced.resize(index + 1, false);
        }
        self.balanced[index] = has;
    }

    /// The index is another backend's from now on.
    pub(super) fn forget(&mut self, backend: BackendIndex) {
        self.suspects.remove(&backend);
        self.reported.remove(&backend);
        self.set_balanced(backend, false);
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
    fn many_take_turns_once_the_books_of_all_have_balanced() {
        const MANY: u16 = 10_000;
        let row = |opened, found| Sample {
            before: row(opened, 0),
            after: row(opened, 0),
            found,
        };
        let mut audit = Audit::default();
        let all: Vec<BackendIndex> = (0..MANY).collect();
        for _ in 0..2 {
            assert_eq!(audit.turn(0..MANY), all);
            // One of them has not.
            audit.round(all.iter().map(|b| (*b, row(1, u64::from(*b != 7)))));
        }
        assert_eq!(audit.turn(0..MANY), all);
        audit.round(all.iter().map(|b| (*b, row(1, 1))));
        assert_eq!(audit.turn(0..MANY), all);
        audit.round(all.iter().map(|b| (*b, row(1, 1))));

        let mut seen = Vec::new();
        for expected in all.chunks(TURN) {
            let turn = audit.turn(0..MANY);
            assert_eq!(turn, expected);
            audit.round(turn.iter().map(|b| (*b, row(1, 1))));
            seen.extend(turn);
        }
        assert_eq!(seen, all);
        // Whose books differ is looked at again at once, and then it is said.
        for differences in [0, 1, 0] {
            let turn = audit.turn(0..MANY);
            assert!(turn.contains(&100));
            let found = audit.round(turn.iter().map(|b| (*b, row(1, u64::from(*b != 100)))));
            assert_eq!(found.len(), differences);
            if differences == 1 {
                audit.next = 0;
            }
        }
        assert!(!audit.turn(0..MANY).contains(&100), "others have a turn");
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
