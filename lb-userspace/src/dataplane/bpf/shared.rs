//! What all threads of the data plane share.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{maps::Maps, rules, state::State};
use crate::dataplane::{Event, EventSink, NatPortFill};

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
/// established flows had and how many ports were in use, and how long it took to
/// see that.
#[derive(Default)]
pub(super) struct Fill {
    entries: [AtomicU64; 2],
    pub(super) rounds: AtomicU64,
    pub(super) micros: AtomicU64,
    nat_ports: Mutex<Vec<NatPortFill>>,
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

    pub(super) fn note_ports(&self, ports: Vec<NatPortFill>) {
        *self.lock_ports() = ports;
    }

    pub(super) fn nat_ports(&self) -> Vec<NatPortFill> {
        self.lock_ports().clone()
    }

    fn lock_ports(&self) -> MutexGuard<'_, Vec<NatPortFill>> {
        // It is replaced whole.
        self.nat_ports
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// How full the tables are, that hold so many entries each.
    pub(super) fn crowds(&self, max_entries: u32) -> [Crowd; 2] {
        self.entries()
            .map(|entries| Crowd::of(entries, max_entries))
    }

    pub(super) fn entries(&self) -> [u64; 2] {
        self.entries
            .each_ref()
            .map(|fill| fill.load(Ordering::Relaxed))
    }
}

/// How full a table of flows is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Crowd {
    /// Less than half.
    Roomy,
    /// From half on: time to ask what need not be there.
    Filling,
    /// There is little room left for new flows.
    Short,
}

impl Crowd {
    pub(super) fn of(entries: u64, max_entries: u32) -> Self {
        let max = u64::from(max_entries);
        if entries >= max / 10 * 9 {
            Self::Short
        } else if entries >= max / 2 {
            Self::Filling
        } else {
            Self::Roomy
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_fills_from_its_half_on_and_is_short_of_room_in_its_last_tenth() {
        let of = |entries| Crowd::of(entries, 1000);
        assert_eq!([0, 499].map(of), [Crowd::Roomy; 2]);
        assert_eq!([500, 899].map(of), [Crowd::Filling; 2]);
        assert_eq!([900, 1000].map(of), [Crowd::Short; 2]);
    }
}
