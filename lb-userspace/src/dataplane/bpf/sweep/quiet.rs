//! Drains where the backend's side is not seen (dsr, ipip): their last flows end
//! with a moment of silence, which somebody has to notice soon (P3).
//!
//! Walking the table five times a second for that would cost too much with many
//! flows. But a drain only ends when *all* its flows are closing, and every flow
//! that begins to close, or closes, moves a counter. So after a walk that found
//! N flows that are not closing, the next one is due when the counters have
//! moved N times. Once all are closing, only those are looked at.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use lb_common::{abi::counter::BackendCounters, abi::flow::FlowKey, tcp::CLOSED};

use super::{
    super::{
        books,
        clock::Tick,
        maps::{AnyKey, Family},
        rules::Rules,
        shared::Crowd,
        table::TableError,
    },
    closer::Closer,
    decide::{self, Decision, Facts, Stage, decide},
    round::each_open,
};
use crate::model::{BackendIndex, Protocol};

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(100);

/// How long a walk is trusted that does not explain the counters: the books
/// differ, and walking again soon would find the same.
const PUZZLED: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Quiet {
    drains: BTreeMap<BackendIndex, Drain>,
    next: Option<Instant>,
}

/// One drain, as the last walk has found it.
#[derive(Debug, Clone)]
struct Drain {
    /// Flows that were not closing.
    open: u64,
    closing: Vec<AnyKey>,
    /// How often the counters had moved by then.
    moves: u64,
    not_before: Instant,
}

impl Drain {
    /// Whether a walk could find that all flows are closing.
    fn is_due(&self, moves: u64, now: Instant) -> bool {
        let since = moves.wrapping_sub(self.moves);
        if self.open > 0 {
            since >= self.open
        } else {
            self.closing.is_empty() && now >= self.not_before
        }
    }
}

fn moves(row: &BackendCounters) -> u64 {
    row.closing.wrapping_add(row.closed)
}

impl Quiet {
    /// Looks at the drains, if it is time.
    pub(super) fn tick(
        &mut self,
        closer: &mut Closer,
        rules: &Rules,
        now: Instant,
    ) -> Result<(), TableError> {
        if self.next.is_some_and(|next| now < next) {
            return Ok(());
        }
        self.next = Some(now + LOOK);
        let draining = rules.backends().filter(|(_, rule)| {
            !rule.takes_new && !rule.retired && !rule.timers.mode.sees_both_sides()
        });
        let rows = books::rows(closer.maps(), draining.map(|(index, _)| index))?;
        let rows: BTreeMap<_, _> = rows
            .into_iter()
            .filter(|(_, row)| books::active(row) > 0)
            .collect();
        self.drains.retain(|index, _| rows.contains_key(index));
        let due: Vec<_> = rows
            .iter()
            .filter(|(index, row)| {
                let drain = self.drains.get(index);
                drain.is_none_or(|drain| drain.is_due(moves(row), now))
            })
            .collect();
        if !due.is_empty() {
            for (index, row) in due {
                let drain = Drain {
                    open: 0,
                    closing: Vec::new(),
                    moves: moves(row),
                    not_before: now + PUZZLED,
                };
                self.drains.insert(*index, drain);
            }
            self.walk(closer, rules, now)?;
        }
        self.settle(closer, rules)
    }

    /// Finds the flows of the drains that are due: those made anew by now.
    fn walk(&mut self, closer: &Closer, rules: &Rules, now: Instant) -> Result<(), TableError> {
        let drains = &mut self.drains;
        each_open(closer.maps(), |key, backend, protocol, state| {
            if let Some(drain) = drains.get_mut(&backend)
                && drain.not_before == now + PUZZLED
                && let Some(rule) = rules.backend(backend)
            {
                if protocol == Protocol::Tcp && decide::is_closing(state, rule.timers.mode) {
                    drain.closing.push(key);
                } else {
                    drain.open += 1;
                }
            }
        })
    }

    /// Settles the closing flows that have fallen silent.
    fn settle(&mut self, closer: &mut Closer, rules: &Rules) -> Result<(), TableError> {
        for (backend, drain) in &mut self.drains {
            let Some(rule) = rules.backend(*backend) else {
                continue;
            };
            let mut failed = None;
            drain.closing.retain(|key| {
                let stays = match key {
                    AnyKey::V4(key) => is_still_closing(closer, key, *backend, rule),
                    AnyKey::V6(key) => is_still_closing(closer, key, *backend, rule),
                };
                stays.unwrap_or_else(|error| {
                    failed = Some(error);
                    true
                })
            });
            if let Some(error) = failed {
                return Err(error);
            }
        }
        closer.flush()
    }

    /// When to look again.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.next
    }
}

/// False if the flow has ended; a flow that is silent long enough ends here.
fn is_still_closing<A: Family>(
    closer: &mut Closer,
    key: &FlowKey<A>,
    backend: BackendIndex,
    rule: &super::super::rules::BackendRule,
) -> Result<bool, TableError> {
    let Some(flow) = A::maps(closer.maps()).flows.get(key)? else {
        return Ok(false);
    };
    if flow.backend != backend || flow.state & CLOSED != 0 {
        return Ok(false);
    }
    let facts = Facts {
        stage: Stage::Established,
        protocol: Protocol::Tcp,
        state: flow.state,
        silent: Tick::now().since(flow.seen),
        disowned: false,
        draining: true,
        short_of_ports: false,
        crowd: Crowd::Roomy,
        ends_udp: false,
        is_more_than_a_handshake: true,
    };
    if decide(&facts, &rule.timers) == Decision::Settle {
        closer.settle(key, &flow)?;
        return Ok(false);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(open: u64, closing: usize, now: Instant) -> Drain {
        Drain {
            open,
            closing: vec![AnyKey::V4(FlowKey::default()); closing],
            moves: 100,
            not_before: now + PUZZLED,
        }
    }

    #[test]
    fn a_walk_is_due_only_when_it_could_find_the_drain_at_its_end() {
        let now = Instant::now();
        let busy = drain(1000, 5, now);
        assert!(!busy.is_due(100, now));
        assert!(!busy.is_due(1099, now));
        assert!(busy.is_due(1100, now));
    }

    #[test]
    fn while_all_are_closing_nobody_walks() {
        let now = Instant::now();
        assert!(!drain(0, 3, now).is_due(500, now + PUZZLED));
    }

    #[test]
    fn a_walk_that_explains_nothing_is_not_repeated_at_once() {
        let now = Instant::now();
        let puzzled = drain(0, 0, now);
        assert!(!puzzled.is_due(100, now + LOOK));
        assert!(puzzled.is_due(100, now + PUZZLED));
    }
}
