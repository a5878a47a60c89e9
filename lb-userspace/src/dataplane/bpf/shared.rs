//! What all threads of the data plane share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{maps::Maps, rules, state::State};
use crate::dataplane::{Event, EventSink};

/// What all threads share.
pub(super) struct Shared {
    pub(super) maps: Arc<Maps>,
    pub(super) state: Mutex<State>,
    pub(super) board: rules::Board,
    pub(super) fill: Fill,
    pub(super) events: EventSink,
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // A panic ends the agent (see the profiles), so what the lock guards is
        // whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and tells the sweeper before anybody else changes it.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state();
        let result = change(&mut state);
        if state.is_reconciled {
            self.board.publish(state.rules());
        }
        result
    }

    pub(super) fn tell(&self, event: Event) {
        (self.events)(event);
    }
}

/// What the sweeper's last round found: how many entries the tables of
/// established flows had, and how long it took to see that.
#[derive(Default)]
pub(super) struct Fill {
    entries: [AtomicU64; 2],
    pub(super) rounds: AtomicU64,
    pub(super) micros: AtomicU64,
}

impl Fill {
    pub(super) fn note(&self, entries: [u64; 2], took: Duration) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.micros.store(micros, Ordering::Relaxed);
        for (fill, entries) in self.entries.iter().zip(entries) {
            fill.store(entries, Ordering::Relaxed);
        }
    }

    pub(super) fn entries(&self) -> [u64; 2] {
        self.entries
            .each_ref()
            .map(|fill| fill.load(Ordering::Relaxed))
    }
}

/// Whether a table of flows has little room left for new ones.
pub(super) fn is_crowded(entries: u64, max_entries: u32) -> bool {
    entries >= u64::from(max_entries) / 10 * 9
}
