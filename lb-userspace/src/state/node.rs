//! What this host gave to what was asked for, and what it found.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use super::{
    indices::Indices,
    life::{Epochs, Found},
};
use crate::model::{BackendId, BackendIndex, LbIndex, LbName, NextHop};

/// The next hop to a backend, or why it cannot be reached.
pub type Resolution = Result<NextHop, String>;

/// A copy shares the part of every load balancer that is not changed in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// One for each that is desired.
    pub load_balancers: BTreeMap<LbName, Arc<Placement>>,
    pub epochs: Epochs,
    /// Indices of backends that are gone, until nothing in the kernel names
    /// them any more.
    pub retired: BTreeSet<BackendIndex>,
    /// The VIPs that ebb put on an interface, and on which.
    pub vips: Arc<BTreeMap<IpAddr, String>>,
    /// Which indices are taken; it follows from the rest.
    pub(super) lb_indices: Indices,
    pub(super) backend_indices: Indices,
}

/// A load balancer on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    pub index: LbIndex,
    /// Addresses of listeners that it had, which open flows may still use.
    pub held: BTreeSet<IpAddr>,
    /// One for each that is desired.
    pub backends: BTreeMap<BackendId, Spot>,
}

/// A backend on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spot {
    /// Its index in the kernel, until it is gone.
    pub index: Option<BackendIndex>,
    pub found: Found,
    /// What the data plane has said of its next hop. Not stored: it is found
    /// anew at every start.
    pub next_hop: Option<Resolution>,
}

impl Node {
    /// With the indices counted that the rest names.
    #[must_use]
    pub fn new(
        load_balancers: BTreeMap<LbName, Arc<Placement>>,
        epochs: Epochs,
        retired: BTreeSet<BackendIndex>,
        vips: BTreeMap<IpAddr, String>,
    ) -> Self {
        let lbs = load_balancers.values().map(|lb| lb.index);
        let spots = load_balancers.values().flat_map(|lb| lb.backends.values());
        let backends = spots.filter_map(|spot| spot.index);
        Self {
            lb_indices: lbs.collect(),
            backend_indices: backends.chain(retired.iter().copied()).collect(),
            load_balancers,
            epochs,
            retired,
            vips: Arc::new(vips),
        }
    }

    /// An index that no load balancer has, below `limit`.
    pub fn take_lb_index(&mut self, limit: u32) -> Option<LbIndex> {
        self.lb_indices.take(limit)
    }

    pub fn give_lb_index_back(&mut self, index: LbIndex) {
        self.lb_indices.give_back(index);
    }

    /// An index that nothing names, below `limit`.
    pub fn take_backend_index(&mut self, limit: u32) -> Option<BackendIndex> {
        self.backend_indices.take(limit)
    }

    /// The backend is gone; the kernel may still name its index.
    pub fn retire(&mut self, index: BackendIndex) {
        self.retired.insert(index);
    }

    /// Nothing in the kernel names the index any more. Nothing, if it is not
    /// one that was retired.
    pub fn forget(&mut self, index: BackendIndex) {
        if self.retired.remove(&index) {
            self.backend_indices.give_back(index);
        }
    }
}
