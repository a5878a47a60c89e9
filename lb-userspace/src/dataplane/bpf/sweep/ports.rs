//! The ports of nat that a round has met: how many are in use, and whether any is bound
//! that no flow has. Pure.
//!
//! A port can be left behind: a handshake that was evicted gives nothing back, and an agent
//! that is killed between two steps gives nothing back either. What is bound but was met with
//! no flow in two rounds is free. Should a new flow have got it just behind the walk both
//! times, nothing is lost: whoever takes a port asks the tables, too.

use std::collections::{BTreeMap, BTreeSet};

use super::super::nat_ports::{Bits, Port};
use crate::dataplane::NatTarget;

/// The ports that a round has met, by row.
#[derive(Debug, Default)]
pub(super) struct Met {
    rows: BTreeMap<u32, Row>,
}

#[derive(Debug, Default)]
struct Row {
    places: Bits,
    targets: BTreeSet<NatTarget>,
    /// The last of them: most flows have the same.
    last: Option<NatTarget>,
}

impl Met {
    /// A flow to `target` has this port.
    pub(super) fn meet(&mut self, port: Port, target: NatTarget) {
        let row = self.rows.entry(port.row).or_default();
        let word = (port.place / 64) as usize;
        if row.places.len() <= word {
            row.places.resize(word + 1, 0);
        }
        row.places[word] |= 1 << (port.place % 64);
        if row.last != Some(target) {
            row.last = Some(target);
            row.targets.insert(target);
        }
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = u32> {
        self.rows.keys().copied()
    }

    /// Who has the ports of a row.
    pub(super) fn targets(&self, row: u32) -> impl Iterator<Item = NatTarget> {
        let row = self.rows.get(&row);
        row.into_iter().flat_map(|row| row.targets.iter().copied())
    }

    fn word(&self, row: u32, word: usize) -> u64 {
        let row = self.rows.get(&row);
        row.and_then(|row| row.places.get(word).copied())
            .unwrap_or_default()
    }
}

/// What one row is found to be like.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Finding {
    /// Ports that a flow has, or may have.
    pub(super) used: u64,
    /// Places that are to be free.
    pub(super) lost: Vec<u32>,
    /// Nobody has needed the row since the last round.
    pub(super) idle: bool,
}

/// Round after round.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// What was bound in the last round and met with no flow, by row.
    suspects: BTreeMap<u32, Bits>,
    /// Rows that had an owner, and those of which a port was in use.
    owned: BTreeSet<u32>,
    used: BTreeSet<u32>,
}

impl Ports {
    /// The rows that were somebody's in the last round.
    pub(super) fn owned(&self) -> impl Iterator<Item = u32> {
        self.owned.iter().copied()
    }

    /// Holds the bits of a row against what was met. `blank` is what nobody can have, of
    /// which there are `span` others.
    pub(super) fn row(&mut self, row: u32, bound: &[u64], blank: &[u64], met: &Met) -> Finding {
        let before = self.suspects.remove(&row).unwrap_or_default();
        let mut suspects = vec![0; bound.len()];
        let mut finding = Finding::default();
        for (word, (bound, blank)) in bound.iter().zip(blank).enumerate() {
            let taken = bound & !blank;
            let alone = taken & !met.word(row, word);
            let lost = alone & before.get(word).copied().unwrap_or_default();
            suspects[word] = alone & !lost;
            finding.used += u64::from((taken & !lost).count_ones());
            let places = (0..64).filter(|bit| lost >> bit & 1 != 0);
            finding
                .lost
                .extend(places.map(|bit| word as u32 * 64 + bit));
        }
        if suspects.iter().any(|word| *word != 0) {
            self.suspects.insert(row, suspects);
        }
        let was_idle = !self.owned.insert(row) && !self.used.contains(&row);
        if finding.used > 0 {
            self.used.insert(row);
        } else {
            self.used.remove(&row);
            finding.idle = was_idle;
        }
        if finding.idle {
            self.owned.remove(&row);
        }
        finding
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Protocol;

    const ROW: u32 = 3;

    fn some_target() -> NatTarget {
        let address = |last| std::net::IpAddr::from([10, 0, 1, last]);
        NatTarget {
            backend: 7,
            source: address(1),
            address: address(11),
            port: 8080,
            protocol: Protocol::Tcp,
        }
    }

    fn met(places: &[u32]) -> Met {
        let mut met = Met::default();
        for place in places {
            met.meet(
                Port {
                    row: ROW,
                    place: *place,
                },
                some_target(),
            );
        }
        met
    }

    #[test]
    fn a_port_that_two_rounds_meet_with_no_flow_is_lost() {
        let (bound, blank) = (vec![0b1110, 1], vec![0b1000, 0]);
        let mut ports = Ports::default();
        let first = ports.row(ROW, &bound, &blank, &met(&[1]));
        assert_eq!(
            first,
            Finding {
                used: 3,
                lost: Vec::new(),
                idle: false,
            }
        );
        // The one has its flow now, the other has none still.
        let second = ports.row(ROW, &bound, &blank, &met(&[1, 64]));
        assert_eq!(
            second,
            Finding {
                used: 2,
                lost: vec![2],
                idle: false,
            }
        );
    }

    #[test]
    fn a_row_is_nobodys_when_none_of_it_was_used_in_two_rounds() {
        let (blank, met) = (vec![0], Met::default());
        let mut ports = Ports::default();
        let mut idle = |bound| ports.row(ROW, &[bound], &blank, &met).idle;
        assert_eq!([0b11, 0, 0].map(&mut idle), [false, false, true]);
    }
}
