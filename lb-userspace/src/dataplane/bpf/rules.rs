//! What the sweeper goes by: a snapshot of the backends and load balancers as
//! the kernel has them, made anew with every change.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use lb_common::abi::flow;

use super::{clock, vips::ListenerId};
use crate::{
    dataplane::LbView,
    model::{BackendIndex, Epoch, LbIndex, Mode, UdpSettings},
};

/// Of one load balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LbRule {
    pub(super) mode: Mode,
    /// All in ticks.
    pub(super) idle: u32,
    pub(super) udp_unreplied: u32,
    pub(super) udp_replied: u32,
}

impl LbRule {
    /// For a backend whose load balancer is gone; its flows are closed anyway.
    pub(super) const ORPHAN: Self = Self {
        mode: Mode::Nat,
        idle: flow::ticks(60_000),
        udp_unreplied: flow::ticks(60_000),
        udp_replied: flow::ticks(60_000),
    };

    pub(super) fn of(view: &LbView, udp: UdpSettings) -> Self {
        // What an entry is compared with has the resolution of a tick.
        let ticks = |d: Duration| clock::ticks(d).max(1);
        Self {
            mode: view.mode,
            idle: ticks(view.idle_timeout),
            udp_unreplied: ticks(udp.unreplied),
            udp_replied: ticks(udp.replied),
        }
    }
}

/// Of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BackendRule {
    pub(super) lb: LbIndex,
    pub(super) epoch: Epoch,
    pub(super) takes_new: bool,
    /// Its UDP conversations are forgotten, so that their clients find another.
    pub(super) ends_udp: bool,
    /// It is gone, and its index is free as soon as no entry names it.
    pub(super) retired: bool,
    pub(super) timers: LbRule,
}

/// Backends that follow one another.
type Shelf = [Option<BackendRule>; SHELF];

/// A copy of the rules shares all shelves but those that are changed in it.
const SHELF: usize = 256;

#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// By index: the sweeper looks here once for every entry.
    backends: Vec<Arc<Shelf>>,
    pub(super) retired_listeners: BTreeSet<ListenerId>,
    /// The nat sources that new flows may use.
    pub(super) nat_sources: BTreeSet<IpAddr>,
}

impl Rules {
    /// What a backend's flows go by; `None`: there is no such backend any more.
    pub(super) fn set(&mut self, backend: BackendIndex, rule: Option<BackendRule>) {
        let (shelf, place) = place(backend);
        if self.backends.len() <= shelf {
            self.backends
                .resize_with(shelf + 1, || Arc::new([None; SHELF]));
        }
        Arc::make_mut(&mut self.backends[shelf])[place] = rule;
    }

    pub(super) fn backend(&self, backend: BackendIndex) -> Option<&BackendRule> {
        let (shelf, place) = place(backend);
        self.backends.get(shelf)?[place].as_ref()
    }

    pub(super) fn backends(&self) -> impl Iterator<Item = (BackendIndex, &BackendRule)> {
        let rules = self.backends.iter().flat_map(|shelf| shelf.iter());
        (0..=BackendIndex::MAX)
            .zip(rules)
            .filter_map(|(i, r)| Some((i, r.as_ref()?)))
    }
}

/// The shelf of a backend, and its place there.
fn place(backend: BackendIndex) -> (usize, usize) {
    let index = usize::from(backend);
    (index / SHELF, index % SHELF)
}

/// Where the latest rules are to be had. There are none before the first
/// reconciliation: until then nothing may be taken out of the tables.
#[derive(Default)]
pub(super) struct Board(RwLock<Option<Arc<Rules>>>);

impl Board {
    pub(super) fn latest(&self) -> Option<Arc<Rules>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn publish(&self, rules: Arc<Rules>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(rules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_shares_what_is_not_changed_in_it() {
        let rule = BackendRule {
            lb: 1,
            epoch: 1,
            takes_new: true,
            ends_udp: false,
            retired: false,
            timers: LbRule::ORPHAN,
        };
        let mut rules = Rules::default();
        for backend in [3, 300, BackendIndex::MAX] {
            rules.set(backend, Some(rule));
        }
        let before = rules.clone();
        rules.set(300, None);
        assert_eq!(before.backend(300), Some(&rule));
        let of = |rules: &Rules| rules.backends().map(|(b, _)| b).collect::<Vec<_>>();
        assert_eq!(of(&before), [3, 300, BackendIndex::MAX]);
        assert_eq!(of(&rules), [3, BackendIndex::MAX]);
        assert!(Arc::ptr_eq(&before.backends[0], &rules.backends[0]));
        assert_eq!(rules.backend(4), None);
    }
}
