//! Who has more than its share of a table of flows that is short of room.
//!
//! Any load balancer may fill the table as long as there is room. The last tenth of it is
//! for those that have less than an equal part of the whole: so a flood at one of them
//! leaves the others room for new flows (P6).

use std::collections::BTreeMap;

use lb_common::abi::backend::over_share;

use super::{
    super::{rules::Rules, shared::Crowd},
    round::Tally,
};
use crate::model::LbIndex;

/// The load balancers that have more than their share, by the bits of
/// [`over_share`]. `max`: the entries that the table of each family holds.
pub(super) fn over(
    rules: &Rules,
    tally: &Tally,
    crowds: [Crowd; 2],
    max: u32,
) -> BTreeMap<LbIndex, u8> {
    let mut over = BTreeMap::new();
    if crowds.iter().all(|crowd| *crowd != Crowd::Short) {
        return over;
    }
    let mut entries: BTreeMap<LbIndex, [u64; 2]> = BTreeMap::new();
    for (backend, rule) in rules.backends() {
        let of_lb = entries.entry(rule.lb).or_default();
        // A nat flow has an entry for each direction.
        let each = if rule.timers.mode.translates() { 2 } else { 1 };
        for (sum, open) in of_lb.iter_mut().zip(tally.open_by_family(backend)) {
            *sum += open * each;
        }
    }
    let share = u64::from(max) / (entries.len() as u64).max(1);
    for (lb, entries) in entries {
        let mut bits = 0;
        for v6 in [false, true] {
            let family = usize::from(v6);
            if crowds[family] == Crowd::Short && entries[family] > share {
                bits |= over_share(v6);
            }
        }
        if bits != 0 {
            over.insert(lb, bits);
        }
    }
    over
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dataplane::bpf::rules::{BackendRule, LbRule},
        model::{BackendIndex, Mode},
    };

    const MAX: u32 = 1000;

    /// Load balancers with one backend each, and how many flows each of them has.
    fn of(flows: &[(Mode, [u64; 2])], crowds: [Crowd; 2]) -> BTreeMap<LbIndex, u8> {
        let mut rules = Rules::default();
        let mut tally = Tally::default();
        for (index, (mode, open)) in (0..).zip(flows) {
            let rule = BackendRule {
                lb: index,
                epoch: 0,
                takes_new: true,
                ends_udp: false,
                retired: false,
                timers: LbRule {
                    mode: *mode,
                    ..LbRule::ORPHAN
                },
            };
            let backend: BackendIndex = index;
            rules.set(backend, Some(rule));
            tally.set_open(backend, *open);
        }
        over(&rules, &tally, crowds, MAX)
    }

    #[test]
    fn while_there_is_room_nobody_has_too_much() {
        let flows = [(Mode::Dsr, [800, 0]), (Mode::Dsr, [10, 0])];
        assert_eq!(of(&flows, [Crowd::Filling, Crowd::Roomy]), BTreeMap::new());
    }

    #[test]
    fn whoever_fills_a_table_has_too_much_in_that_one() {
        let flows = [(Mode::Dsr, [900, 600]), (Mode::Dsr, [10, 10])];
        let short = [Crowd::Short, Crowd::Filling];
        assert_eq!(of(&flows, short), [(0, over_share(false))].into());
        let both = [Crowd::Short, Crowd::Short];
        assert_eq!(
            of(&flows, both),
            [(0, over_share(false) | over_share(true))].into()
        );
    }

    #[test]
    fn flows_of_nat_count_for_both_their_entries() {
        let short = [Crowd::Short, Crowd::Roomy];
        let flows = [(Mode::Nat, [260, 0]), (Mode::Dsr, [490, 0])];
        assert_eq!(of(&flows, short), [(0, over_share(false))].into());
    }

    #[test]
    fn the_only_one_has_the_table_to_itself() {
        let short = [Crowd::Short, Crowd::Short];
        assert_eq!(of(&[(Mode::Dsr, [1000, 1000])], short), BTreeMap::new());
    }
}
