//! The whole state, as stored and as in force: pure data, in two halves.
//!
//! - [`desired`]: what people and the API asked for, the same wherever it is
//!   carried out;
//! - [`node`]: what this host gave to it (the kernel's indices, epochs, VIPs on
//!   interfaces) and what it found (health, next hops, the end of forced closes);
//! - [`life`]: the life of a backend, a half of it from either;
//! - `indices`: which of the kernel's indices are taken.
//!
//! A copy of a state is cheap: it shares all load balancers with the original
//! until one of them is changed. [`crate::control::edit`] does that, and nobody
//! else.

pub mod desired;
mod indices;
pub mod life;
pub mod node;

use std::{collections::BTreeSet, net::IpAddr, ops::Deref};

pub use desired::Desired;
pub use node::{Node, Resolution};

use crate::{
    clock::Moment,
    model::{
        BackendId, BackendIndex, Counted, Full, Invalid, LbIndex, LbName, Room, TableSizes,
        Together, Weight,
    },
    suggest::nearest,
};
use life::{Health, Life};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub desired: Desired,
    pub node: Node,
}

/// A load balancer, both halves of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lb<'a> {
    pub desired: &'a desired::LoadBalancer,
    pub node: &'a node::Placement,
}

/// A backend, both halves of it.
#[derive(Debug, Clone)]
pub struct Backend<'a> {
    pub address: IpAddr,
    pub weight: Weight,
    /// Its index in the kernel, until it is gone.
    pub index: Option<BackendIndex>,
    pub life: Life,
    /// What the data plane has said of its next hop.
    pub next_hop: Option<&'a Resolution>,
}

/// There is nothing of that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    #[error("there is no load balancer named {name:?}")]
    LoadBalancer {
        name: String,
        nearest: Option<String>,
    },
    #[error("load balancer {lb:?} has no backend {id:?}")]
    Backend {
        lb: String,
        id: String,
        nearest: Option<String>,
    },
}

impl State {
    /// # Errors
    /// [`Missing::LoadBalancer`].
    pub fn lb(&self, name: &str) -> Result<(&LbName, Lb<'_>), Missing> {
        self.find(name).ok_or_else(|| {
            let names = self.desired.load_balancers.keys().map(LbName::as_str);
            Missing::LoadBalancer {
                name: name.to_owned(),
                nearest: nearest(name, names).map(str::to_owned),
            }
        })
    }

    /// The load balancer `name`, if there is one.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<(&LbName, Lb<'_>)> {
        let (name, desired) = self.desired.load_balancers.get_key_value(name)?;
        let node = self.node.load_balancers.get(name)?;
        Some((name, Lb { desired, node }))
    }

    /// # Errors
    /// [`Missing`], whichever it is.
    pub fn backend(&self, lb: &str, id: &str) -> Result<(&BackendId, Backend<'_>), Missing> {
        let (name, lb) = self.lb(lb)?;
        lb.backend(id).ok_or_else(|| {
            let ids = lb.desired.backends.keys().map(BackendId::as_str);
            Missing::Backend {
                lb: name.to_string(),
                id: id.to_owned(),
                nearest: nearest(id, ids).map(str::to_owned),
            }
        })
    }

    /// Sorted by name.
    pub fn load_balancers(&self) -> impl Iterator<Item = (&LbName, Lb<'_>)> {
        let names = self.desired.load_balancers.keys();
        names.filter_map(|name| self.find(name.as_str()))
    }

    pub fn backends(&self) -> impl Iterator<Item = (&LbName, &BackendId, Backend<'_>)> {
        self.load_balancers()
            .flat_map(|(name, lb)| lb.backends().map(move |(id, backend)| (name, id, backend)))
    }

    /// The addresses that clients connect to, or that open flows may still use.
    #[must_use]
    pub fn wanted_vips(&self) -> BTreeSet<IpAddr> {
        self.load_balancers()
            .flat_map(|(_, lb)| lb.vips())
            .collect()
    }

    /// How much of each table is taken.
    #[must_use]
    pub fn room(&self, sizes: &TableSizes) -> [Room; 3] {
        Counted::ALL.map(|what| {
            let lbs = &self.desired.load_balancers;
            let used = match what {
                Counted::LoadBalancers => lbs.len(),
                // Those that are gone count until nothing names their index.
                Counted::Backends => self.node.backend_indices.taken() as usize,
                Counted::Listeners => lbs.values().map(|lb| lb.listeners.len()).sum(),
            };
            Room {
                what,
                used: u32::try_from(used).unwrap_or(u32::MAX),
                limit: sizes.limit(what),
            }
        })
    }

    /// # Errors
    /// When there are more of something than there is room for, or its index
    /// lies beyond a table that was made smaller.
    pub fn fits(&self, sizes: &TableSizes) -> Result<(), Full> {
        let room = self.room(sizes);
        room.iter().try_for_each(Room::check)?;
        let lbs = self.node.lb_indices.last();
        let backends = self.node.backend_indices.last();
        for (what, last) in [(Counted::LoadBalancers, lbs), (Counted::Backends, backends)] {
            let room = Room {
                what,
                used: last.map_or(0, |last| u32::from(last) + 1),
                limit: sizes.limit(what),
            };
            room.check()?;
        }
        Ok(())
    }

    /// Moves everything that was measured on another boot's clock onto this
    /// one's. What only the kernel of that boot knew is forgotten.
    pub fn rebase(&mut self, shift: impl Fn(Moment) -> Moment) {
        self.desired.rebase(shift);
        self.node.vips = Default::default();
    }
}

impl<'a> Lb<'a> {
    #[must_use]
    pub fn index(&self) -> LbIndex {
        self.node.index
    }

    #[must_use]
    pub fn backend(&self, id: &str) -> Option<(&'a BackendId, Backend<'a>)> {
        let (id, desired) = self.desired.backends.get_key_value(id)?;
        let spot = self.node.backends.get(id)?;
        let backend = Backend {
            address: desired.address,
            weight: desired.weight,
            index: spot.index,
            life: Life {
                asked: desired.asked.clone(),
                found: spot.found.clone(),
            },
            next_hop: spot.next_hop.as_ref(),
        };
        Some((id, backend))
    }

    /// All that are remembered, sorted by id.
    pub fn backends(self) -> impl Iterator<Item = (&'a BackendId, Backend<'a>)> {
        let ids = self.desired.backends.keys();
        ids.filter_map(move |id| self.backend(id.as_str()))
    }

    /// Backends that are not gone.
    pub fn present(self) -> impl Iterator<Item = (&'a BackendId, Backend<'a>)> {
        self.backends()
            .filter(|(_, backend)| !backend.life.is_gone())
    }

    /// The addresses that clients connect to, or that open flows may still use;
    /// one that several listeners have, several times.
    pub fn vips(self) -> impl Iterator<Item = IpAddr> + 'a {
        let listening = self.desired.listeners.keys().map(|key| key.address);
        listening.chain(self.node.held.iter().copied())
    }

    /// Addresses of removed listeners are kept for open flows.
    #[must_use]
    pub fn holds(&self) -> bool {
        !self.desired.deleting && !self.node.held.is_empty()
    }

    /// Adds it to what was seen so far.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn check(self, name: &LbName, together: &mut Together) -> Result<(), Invalid> {
        let mode = self.desired.mode;
        for key in self.desired.listeners.keys() {
            together.listener(name, mode, *key)?;
        }
        for (id, backend) in self.backends() {
            if backend.life.is_registered() {
                together.backend(name, mode, id, backend.address)?;
            } else if !backend.life.is_gone() {
                together.leaving(name, backend.address)?;
            }
        }
        Ok(())
    }
}

/// What was asked for is what most readers are after.
impl Deref for Lb<'_> {
    type Target = desired::LoadBalancer;

    fn deref(&self) -> &Self::Target {
        self.desired
    }
}

impl Backend<'_> {
    /// Takes new flows: it may, and it is not known to be out of reach.
    #[must_use]
    pub fn takes_new(&self) -> bool {
        self.life.takes_new() && !self.is_out_of_reach()
    }

    /// It is known not to serve.
    #[must_use]
    pub fn fails(&self) -> bool {
        self.life.health() == Health::Unhealthy || self.is_out_of_reach()
    }

    fn is_out_of_reach(&self) -> bool {
        matches!(self.next_hop, Some(Err(_)))
    }
}
