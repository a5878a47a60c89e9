//! The whole state, as stored and as in force, and the view of it that the data
//! plane gets. Pure data; [`super::edit`] changes it.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    backend::{Epochs, Life},
    error::Error,
};
use crate::{
    clock::{Moment, Wall},
    dataplane::{BackendView, LbView, ListenerView, Member, View},
    model::{
        Attributes, BackendId, BackendIndex, Declaration, HealthCheck, Invalid, Key, LbIndex,
        LbName, Listeners, Mode, NextHop, Roster, Subject, Together, Weight, spec,
    },
    suggest::nearest,
    tables::{Counted, Full, Room, TableSizes},
};

/// The way to each backend that the data plane has spoken of.
pub type Ways = BTreeMap<BackendIndex, Result<NextHop, String>>;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    pub load_balancers: BTreeMap<LbName, LoadBalancer>,
    pub epochs: Epochs,
    /// Indices of backends that are gone, until nothing in the kernel names
    /// them any more.
    #[serde(default)]
    pub retired: BTreeSet<BackendIndex>,
    /// The VIPs that ebb put on an interface, and on which.
    #[serde(default)]
    pub vips: BTreeMap<IpAddr, String>,
    /// What each source (the configuration file, a file that was applied) said
    /// when it was last put in force. What operators did since then stays until
    /// the source says something else.
    #[serde(default)]
    pub declared: BTreeMap<String, Declaration>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub index: LbIndex,
    pub mode: Mode,
    pub created: Wall,
    #[serde(with = "spec::by_text")]
    pub listeners: Listeners,
    pub attributes: Attributes,
    /// Without one, registered backends count as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    pub backends: BTreeMap<BackendId, Backend>,
    /// Deleted; gone when its last backend is.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    /// Addresses of listeners that it had, which open flows may still use.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub held: BTreeSet<IpAddr>,
    /// What the ELB API remembers of it; nobody else reads it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub elb: Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub address: IpAddr,
    pub weight: Weight,
    /// Its index in the kernel, until it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<BackendIndex>,
    pub life: Life,
}

impl State {
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub fn lb(&self, name: &str) -> Result<(&LbName, &LoadBalancer), Error> {
        self.load_balancers
            .get_key_value(name)
            .ok_or_else(|| self.no_such_lb(name))
    }

    pub(super) fn no_such_lb(&self, name: &str) -> Error {
        let names = self.load_balancers.keys().map(LbName::as_str);
        Error::NoSuchLoadBalancer {
            name: name.to_owned(),
            nearest: nearest(name, names).map(str::to_owned),
        }
    }

    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`].
    pub fn backend(&self, lb: &str, id: &str) -> Result<(&BackendId, &Backend), Error> {
        let (name, lb) = self.lb(lb)?;
        lb.backends
            .get_key_value(id)
            .ok_or_else(|| lb.no_such_backend(name, id))
    }

    /// The backend that has `index`.
    #[must_use]
    pub fn by_index(&self, index: BackendIndex) -> Option<(&LbName, &BackendId, &Backend)> {
        self.backends()
            .find(|(_, _, backend)| backend.index == Some(index))
    }

    pub fn backends(&self) -> impl Iterator<Item = (&LbName, &BackendId, &Backend)> {
        self.load_balancers.iter().flat_map(|(name, lb)| {
            lb.backends
                .iter()
                .map(move |(id, backend)| (name, id, backend))
        })
    }

    /// The addresses that clients connect to, or that open flows may still use.
    #[must_use]
    pub fn wanted_vips(&self) -> BTreeSet<IpAddr> {
        self.load_balancers
            .values()
            .flat_map(|lb| {
                let listening = lb.listeners.keys().map(|key| key.address);
                listening.chain(lb.held.iter().copied())
            })
            .collect()
    }

    /// How much of each table is taken.
    #[must_use]
    pub fn room(&self, sizes: &TableSizes) -> [Room; 3] {
        Counted::ALL.map(|what| {
            let used = match what {
                Counted::LoadBalancers => self.load_balancers.len(),
                // Those that are gone count until nothing names their index.
                Counted::Backends => self.backend_indices().count(),
                Counted::Listeners => self
                    .load_balancers
                    .values()
                    .map(|lb| lb.listeners.len())
                    .sum(),
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
        let lbs = self.load_balancers.values().map(|lb| lb.index).max();
        let backends = self.backend_indices().max();
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

    fn backend_indices(&self) -> impl Iterator<Item = BackendIndex> {
        let present = self.backends().filter_map(|(_, _, backend)| backend.index);
        present.chain(self.retired.iter().copied())
    }

    /// The rules that no part can be checked against alone.
    ///
    /// # Errors
    /// The first one that is broken.
    pub fn check(&self) -> Result<(), Invalid> {
        let mut together = Together::default();
        for (name, lb) in &self.load_balancers {
            for key in lb.listeners.keys() {
                together.listener(name, lb.mode, *key)?;
            }
            for (id, backend) in &lb.backends {
                if backend.life.is_registered() {
                    together.backend(name, lb.mode, id, backend.address)?;
                } else if !backend.life.is_gone() {
                    together.leaving(name, backend.address)?;
                }
            }
        }
        Ok(())
    }

    /// Everything that the kernel should know.
    #[must_use]
    pub fn view(&self, ways: &Ways) -> View {
        let mut view = View::default();
        for (name, lb) in &self.load_balancers {
            view.lbs.insert(
                lb.index,
                LbView {
                    index: lb.index,
                    name: name.to_string(),
                    mode: lb.mode,
                    idle_timeout: lb.attributes.idle_timeout.duration(),
                    close_rate: lb.attributes.close_rate,
                },
            );
            for (key, backend_port) in &lb.listeners {
                view.listeners.insert(
                    *key,
                    ListenerView {
                        key: *key,
                        lb: lb.index,
                        backend_port: *backend_port,
                    },
                );
            }
            let mut members = Vec::new();
            for (id, backend) in &lb.backends {
                let Some(index) = backend.index else {
                    continue;
                };
                let takes_new =
                    backend.life.takes_new() && !matches!(ways.get(&index), Some(Err(_)));
                view.backends.insert(
                    index,
                    BackendView {
                        index,
                        epoch: backend.life.epoch(),
                        lb: lb.index,
                        address: backend.address,
                        takes_new,
                    },
                );
                if backend.life.is_registered() {
                    members.push(Member {
                        backend: index,
                        id: id.to_string(),
                        weight: backend.weight.get(),
                        in_service: takes_new,
                    });
                }
            }
            view.tables.insert(lb.index, members);
        }
        view
    }

    /// Every backend that is to be checked.
    #[must_use]
    pub fn roster(&self) -> Roster {
        let mut roster = Roster::new();
        for (name, lb) in &self.load_balancers {
            let Some(check) = lb.health_check.clone().map(Arc::new) else {
                continue;
            };
            for (id, backend) in lb.present() {
                let key = Key {
                    lb: name.clone(),
                    backend: id.clone(),
                };
                let subject = Subject {
                    address: backend.address,
                    check: Arc::clone(&check),
                    standing: backend.life.standing(),
                };
                roster.insert(key, subject);
            }
        }
        roster
    }

    /// Moves everything that was measured on another boot's clock onto this
    /// one's. What only the kernel of that boot knew is forgotten.
    pub fn rebase(&mut self, shift: impl Fn(Moment) -> Moment) {
        for lb in self.load_balancers.values_mut() {
            for backend in lb.backends.values_mut() {
                backend.life.rebase(&shift);
            }
        }
        self.vips.clear();
    }
}

impl LoadBalancer {
    pub(super) fn no_such_backend(&self, lb: &LbName, id: &str) -> Error {
        let ids = self.backends.keys().map(BackendId::as_str);
        Error::NoSuchBackend {
            lb: lb.to_string(),
            id: id.to_owned(),
            nearest: nearest(id, ids).map(str::to_owned),
        }
    }

    /// Backends that are not gone.
    pub fn present(&self) -> impl Iterator<Item = (&BackendId, &Backend)> {
        self.backends
            .iter()
            .filter(|(_, backend)| !backend.life.is_gone())
    }
}
