//! What the sole writer asks of the state at every turn, kept in step with it
//! load balancer by load balancer, so that nothing walks all backends again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use crate::{
    clock::Moment,
    model::{BackendId, BackendIndex, LbName, ListenerKey, Protocol, Together},
    state::{Lb, State},
};

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Index {
    owners: BTreeMap<BackendIndex, (LbName, BackendId)>,
    listeners: BTreeMap<ListenerKey, LbName>,
    /// Where backends are that are not gone.
    servers: BTreeMap<IpAddr, BTreeSet<LbName>>,
    /// Who wants which address on an interface.
    vips: BTreeMap<IpAddr, BTreeSet<LbName>>,
    draining: BTreeMap<LbName, BTreeMap<BackendId, Draining>>,
    /// When the first backend of a load balancer need not be remembered any
    /// more.
    forgettable: BTreeSet<(Moment, LbName)>,
    /// Those that keep addresses of removed listeners.
    holding: BTreeSet<LbName>,
}

/// A backend that is to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draining {
    pub index: BackendIndex,
    pub deadline: Moment,
}

impl Index {
    #[must_use]
    pub fn of(state: &State) -> Self {
        let mut index = Self::default();
        for (name, lb) in state.load_balancers() {
            index.add(name, lb);
        }
        index
    }

    /// Follows the load balancers `changed` from one state to the next.
    pub fn follow(&mut self, changed: &BTreeSet<LbName>, old: &State, new: &State) {
        for name in changed {
            if let Some((name, lb)) = old.find(name.as_str()) {
                self.remove(name, lb);
            }
        }
        for name in changed {
            if let Some((name, lb)) = new.find(name.as_str()) {
                self.add(name, lb);
            }
        }
    }

    fn add(&mut self, name: &LbName, lb: Lb<'_>) {
        for key in lb.listeners.keys() {
            self.listeners.insert(*key, name.clone());
        }
        for address in lb.vips() {
            self.vips.entry(address).or_default().insert(name.clone());
        }
        for (id, backend) in lb.present() {
            let here = self.servers.entry(backend.address).or_default();
            here.insert(name.clone());
            let Some(index) = backend.index else { continue };
            self.owners.insert(index, (name.clone(), id.clone()));
            if let Some(drain) = backend.life.drain().filter(|_| backend.life.is_draining()) {
                let deadline = drain.deadline();
                let draining = self.draining.entry(name.clone()).or_default();
                draining.insert(id.clone(), Draining { index, deadline });
            }
        }
        if let Some(first) = first_forgettable(lb) {
            self.forgettable.insert((first, name.clone()));
        }
        if lb.holds() {
            self.holding.insert(name.clone());
        }
    }

    fn remove(&mut self, name: &LbName, lb: Lb<'_>) {
        for key in lb.listeners.keys() {
            self.listeners.remove(key);
        }
        for address in lb.vips() {
            leave(&mut self.vips, address, name);
        }
        for (_, backend) in lb.present() {
            leave(&mut self.servers, backend.address, name);
            if let Some(index) = backend.index {
                self.owners.remove(&index);
            }
        }
        self.draining.remove(name);
        if let Some(first) = first_forgettable(lb) {
            self.forgettable.remove(&(first, name.clone()));
        }
        self.holding.remove(name);
    }

    /// The backend that has `index`.
    #[must_use]
    pub fn owner(&self, index: BackendIndex) -> Option<&(LbName, BackendId)> {
        self.owners.get(&index)
    }

    /// Whether any load balancer wants the address on an interface.
    #[must_use]
    pub fn wants(&self, address: IpAddr) -> bool {
        self.vips.contains_key(&address)
    }

    /// Every address that a load balancer wants on an interface.
    pub fn vips(&self) -> impl Iterator<Item = IpAddr> {
        self.vips.keys().copied()
    }

    /// The load balancers that want the address.
    pub fn whose_vip(&self, address: IpAddr) -> impl Iterator<Item = &LbName> {
        self.vips.get(&address).into_iter().flatten()
    }

    /// Every backend that drains.
    pub fn draining(&self) -> impl Iterator<Item = (&LbName, &BackendId, Draining)> {
        self.draining
            .iter()
            .flat_map(|(lb, all)| all.iter().map(move |(id, one)| (lb, id, *one)))
    }

    /// Load balancers with backends that need not be remembered any more.
    pub fn forgettable(&self, now: Moment) -> impl Iterator<Item = &LbName> {
        self.forgettable
            .iter()
            .take_while(move |(moment, _)| *moment <= now)
            .map(|(_, name)| name)
    }

    /// Load balancers that keep addresses of removed listeners.
    #[must_use]
    pub fn holding(&self) -> &BTreeSet<LbName> {
        &self.holding
    }

    /// What the load balancers `changed` of `new` must go together with: the
    /// listeners and backends of all others at the same addresses.
    #[must_use]
    pub fn beside(&self, changed: &BTreeSet<LbName>, new: &State) -> Together {
        let mut together = Together::default();
        let other = |name: &&LbName| !changed.contains(name.as_str());
        for (_, lb) in changed.iter().filter_map(|name| new.find(name.as_str())) {
            for key in lb.listeners.keys() {
                if let Some(name) = self.listeners.get(key).filter(other) {
                    together.has_listener(*key, name);
                }
                let here = self.servers.get(&key.address).into_iter().flatten();
                if let Some(name) = here.into_iter().find(other) {
                    together.has_backend(key.address, name);
                }
            }
            for (_, backend) in lb.present() {
                if let Some(name) = self.listening(backend.address).find(other) {
                    together.has_vip(backend.address, name);
                }
            }
        }
        together
    }

    /// Who listens at the address.
    fn listening(&self, address: IpAddr) -> impl Iterator<Item = &LbName> {
        [Protocol::Tcp, Protocol::Udp]
            .into_iter()
            .flat_map(move |protocol| {
                let at = |port| ListenerKey {
                    protocol,
                    address,
                    port,
                };
                self.listeners.range(at(0)..=at(u16::MAX))
            })
            .map(|(_, name)| name)
    }
}

fn first_forgettable(lb: Lb<'_>) -> Option<Moment> {
    lb.backends()
        .filter_map(|(_, backend)| backend.life.forgettable_at())
        .min()
}

fn leave(who: &mut BTreeMap<IpAddr, BTreeSet<LbName>>, address: IpAddr, name: &LbName) {
    if let Some(names) = who.get_mut(&address) {
        names.remove(name.as_str());
        if names.is_empty() {
            who.remove(&address);
        }
    }
}

#[cfg(test)]
mod tests;
