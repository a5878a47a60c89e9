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

#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    /// By index: the sweeper looks here once for every entry.
    backends: Vec<Option<BackendRule>>,
    pub(super) retired_listeners: BTreeSet<ListenerId>,
    /// The nat sources that new flows may use.
    pub(super) nat_sources: BTreeSet<IpAddr>,
}

impl Rules {
    /// What a backend's flows go by; `None`: there is no such backend any more.
    pub(super) fn set(&mut self, backend: BackendIndex, rule: Option<BackendRule>) {
        let index = usize::from(backend);
        if self.backends.len() <= index {
            self.backends.resize(index + 1, None);
        }
        self.backends[index] = rule;
    }

    pub(super) fn backend(&self, backend: BackendIndex) -> Option<&BackendRule> {
        self.backends.get(usize::from(backend))?.as_ref()
    }

    pub(super) fn backends(&self) -> impl Iterator<Item = (BackendIndex, &BackendRule)> {
        (0..)
            .zip(&self.backends)
            .filter_map(|(i, r)| Some((i, r.as_ref()?)))
    }
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
