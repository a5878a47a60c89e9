//! The one way from a state to the next: [`Draft::make`]. Pure: time comes in,
//! and a [`Draft`] becomes the state when the control thread has stored it and
//! put it in force, or is dropped.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use serde_json::Value;

use super::{command::Command, error::Error, index::Index};
use crate::{
    clock::Now,
    dataplane::Ties,
    model::{
        Attributes, AttributesSpec, BackendId, BackendSpec, Counted, DrainOutcome, Epoch,
        HealthCheck, HealthReport, LbName, LbSpec, Leave, ListenerKey, TableSizes,
    },
    state::{
        Lb, Missing, Resolution, State,
        desired::{self, LoadBalancer},
        life::{Epochs, Health, Life, Step},
        node::{Placement, Spot},
    },
    wire::What,
};

/// Something that will have happened when the draft is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub lb: LbName,
    pub backend: Option<BackendId>,
    pub what: What,
}

/// A copy of the state that is being changed. It shares with the state what is
/// not touched.
#[derive(Debug, Clone)]
pub struct Draft {
    state: State,
    now: Now,
    /// What there is room for.
    sizes: TableSizes,
    notes: Vec<Note>,
    touched: BTreeSet<LbName>,
}

/// A draft that keeps every rule.
#[derive(Debug)]
pub struct Ready {
    pub(super) state: State,
    pub(super) now: Now,
    pub(super) notes: Vec<Note>,
    /// The load balancers that differ.
    pub(super) changed: BTreeSet<LbName>,
}

impl Ready {
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// The load balancers that differ.
    #[must_use]
    pub fn changed(&self) -> &BTreeSet<LbName> {
        &self.changed
    }
}

impl Draft {
    #[must_use]
    pub fn new(state: &State, now: Now, sizes: TableSizes) -> Self {
        Self {
            state: state.clone(),
            now,
            sizes,
            notes: Vec::new(),
            touched: BTreeSet::new(),
        }
    }

    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    #[must_use]
    pub fn now(&self) -> Now {
        self.now
    }

    /// From the state, by the command, to the next state.
    ///
    /// # Errors
    /// What the command asks for cannot be done; the draft is of no use then,
    /// except after a [`Command::Checked`], which changes nothing if it fails.
    pub fn make(&mut self, command: Command) -> Result<(), Error> {
        match command {
            Command::Create(name, spec, elb) => {
                self.create(&name, &spec)?;
                self.keep_elb(name.as_str(), elb)
            }
            Command::Delete(lb, how) => self.delete(&lb, how),
            Command::AddListener(lb, key, port) => self.add_listener(&lb, key, port),
            Command::RemoveListener(lb, key) => self.remove_listener(&lb, key),
            Command::Register(lb, id, spec) => self.register(&lb, &id, spec),
            Command::Deregister(lb, id, how) => self.deregister(&lb, &id, how),
            Command::SetByHand(lb, id, health) => self.set_by_hand(&lb, &id, health),
            Command::SetAttributes(lb, spec) => self.set_attributes(&lb, spec),
            Command::SetHealthCheck(lb, check) => self.set_health_check(&lb, check),
            Command::KeepElb(lb, elb) => self.keep_elb(&lb, elb),
            Command::Declared(source, declaration) => {
                let declared = &mut self.state.desired.declared;
                declared.insert(source, Arc::new(declaration));
                Ok(())
            }
            Command::Checked(lb, id, report) => self.checked(&lb, &id, report),
            Command::Polled(lb, id, ties) => {
                self.poll(&lb, &id, ties);
                Ok(())
            }
            Command::Closed(lb, id, epoch, flows) => {
                self.closed(&lb, &id, epoch, flows);
                Ok(())
            }
            Command::Heard(lb, id, next_hop) => {
                self.hear(&lb, &id, next_hop);
                Ok(())
            }
            Command::Forgotten(index) => {
                self.state.node.forget(index);
                Ok(())
            }
            Command::Placed(addresses) => {
                Arc::make_mut(&mut self.state.node.vips).extend(addresses);
                Ok(())
            }
            Command::Displaced(addresses) => {
                let vips = Arc::make_mut(&mut self.state.node.vips);
                vips.retain(|address, _| !addresses.contains(address));
                Ok(())
            }
            Command::Used(lb, addresses) => {
                let lb = self.lb_mut(lb.as_str())?;
                lb.node.held.retain(|address| addresses.contains(address));
                Ok(())
            }
        }
    }

    /// The draft as the state that follows `old`, which `index` is of: what
    /// need not be remembered is forgotten, and no rule is broken.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Full`].
    pub fn finish(mut self, old: &State, index: &Index) -> Result<Ready, Error> {
        self.settle(index);
        self.check(index)?;
        let mut changed = self.touched;
        changed.retain(|name| old.find(name.as_str()) != self.state.find(name.as_str()));
        Ok(Ready {
            state: self.state,
            now: self.now,
            notes: self.notes,
            changed,
        })
    }

    /// The addresses that are wanted on an interface and were not in the state
    /// that `index` is of.
    #[must_use]
    pub fn new_vips(&self, index: &Index) -> BTreeSet<IpAddr> {
        let touched = self.touched.iter();
        let lbs = touched.filter_map(|name| Some(self.state.find(name.as_str())?.1));
        lbs.flat_map(Lb::vips)
            .filter(|address| !index.wants(*address))
            .collect()
    }

    /// The rules that no load balancer can be checked against alone, and
    /// whether everything fits. `index` is that of the state that the draft
    /// began as.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Full`].
    pub fn check(&self, index: &Index) -> Result<(), Error> {
        let mut together = index.beside(&self.touched, &self.state);
        for name in &self.touched {
            if let Some((name, lb)) = self.state.find(name.as_str()) {
                lb.check(name, &mut together)?;
            }
        }
        Ok(self.state.fits(&self.sizes)?)
    }

    fn note(&mut self, lb: &LbName, backend: Option<&BackendId>, what: What) {
        self.notes.push(Note {
            lb: lb.clone(),
            backend: backend.cloned(),
            what,
        });
    }

    fn lb_mut(&mut self, name: &str) -> Result<LbMut<'_>, Missing> {
        let name = self.state.lb(name)?.0.clone();
        let State { desired, node } = &mut self.state;
        let halves = desired.load_balancers.get_mut(&name);
        let (desired, node) = halves
            .zip(node.load_balancers.get_mut(&name))
            .expect("it was there in the lines above");
        self.touched.insert(name);
        Ok(LbMut {
            desired: Arc::make_mut(desired),
            node: Arc::make_mut(node),
        })
    }

    fn create(&mut self, name: &LbName, spec: &LbSpec) -> Result<(), Error> {
        match self.state.find(name.as_str()) {
            None => self.begin(name, spec)?,
            Some((_, lb)) if !lb.deleting => {
                return Err(Error::LoadBalancerExists {
                    name: name.to_string(),
                });
            }
            Some((_, lb)) if lb.mode != spec.mode => {
                return Err(Error::OtherMode {
                    lb: name.to_string(),
                    current: lb.mode.name(),
                    asked: spec.mode.name(),
                });
            }
            // The deletion of one is taken back.
            Some(_) => {
                let lb = self.lb_mut(name.as_str())?.desired;
                lb.deleting = false;
                lb.listeners = spec.listeners.clone();
                lb.attributes = Attributes::default().with(spec.attributes);
                lb.elb = Value::Null;
                self.set_health_check(name.as_str(), spec.health_check.clone())?;
            }
        }
        self.note(name, None, What::LoadBalancerCreated);
        for key in spec.listeners.keys() {
            let listener = key.to_string();
            self.note(name, None, What::ListenerAdded { listener });
        }
        for (id, backend) in &spec.backends {
            self.register(name.as_str(), id, *backend)?;
        }
        Ok(())
    }

    fn begin(&mut self, name: &LbName, spec: &LbSpec) -> Result<(), Error> {
        let State { desired, node } = &mut self.state;
        let index = node
            .take_lb_index(self.sizes.load_balancers)
            .ok_or_else(|| self.sizes.full(Counted::LoadBalancers))?;
        let lb = LoadBalancer {
            mode: spec.mode,
            created: self.now.wall,
            listeners: spec.listeners.clone(),
            attributes: Attributes::default().with(spec.attributes),
            health_check: spec.health_check.clone(),
            backends: BTreeMap::new(),
            deleting: false,
            elb: Value::Null,
        };
        let placement = Placement {
            index,
            held: BTreeSet::new(),
            backends: BTreeMap::new(),
        };
        desired.load_balancers.insert(name.clone(), Arc::new(lb));
        node.load_balancers
            .insert(name.clone(), Arc::new(placement));
        self.touched.insert(name.clone());
        Ok(())
    }

    /// Takes the listeners away and deregisters every backend.
    fn delete(&mut self, name: &str, how: Leave) -> Result<(), Error> {
        let (key, lb) = self.state.lb(name)?;
        let key = key.clone();
        let leaving: Vec<BackendId> = lb.present().map(|(id, _)| id.clone()).collect();
        let lb = self.lb_mut(name)?;
        let begun = !std::mem::replace(&mut lb.desired.deleting, true);
        let listeners = std::mem::take(&mut lb.desired.listeners);
        lb.node.held.extend(listeners.keys().map(|key| key.address));
        if begun {
            self.note(&key, None, What::LoadBalancerDeleting);
        }
        for listener in listeners.keys() {
            let listener = listener.to_string();
            self.note(&key, None, What::ListenerRemoved { listener });
        }
        for id in leaving {
            self.deregister(name, id.as_str(), how)?;
        }
        Ok(())
    }

    /// Adds a listener, or gives one that is there another backend port.
    fn add_listener(
        &mut self,
        name: &str,
        key: ListenerKey,
        backend_port: u16,
    ) -> Result<(), Error> {
        let name = self.living(name)?;
        let lb = self.lb_mut(name.as_str())?;
        lb.node.held.remove(&key.address);
        let before = lb.desired.listeners.insert(key, backend_port);
        if before != Some(backend_port) {
            let listener = key.to_string();
            self.note(&name, None, What::ListenerAdded { listener });
        }
        Ok(())
    }

    /// Lets no new flow in by this listener. Its address stays for the open
    /// ones.
    fn remove_listener(&mut self, name: &str, key: ListenerKey) -> Result<(), Error> {
        let lb = self.lb_mut(name)?;
        let listeners = &mut lb.desired.listeners;
        if listeners.remove(&key).is_none() {
            return Err(Error::NoSuchListener {
                lb: name.to_owned(),
                listener: key.to_string(),
            });
        }
        if !listeners.keys().any(|other| other.address == key.address) {
            lb.node.held.insert(key.address);
        }
        let name = self.state.lb(name)?.0.clone();
        let listener = key.to_string();
        self.note(&name, None, What::ListenerRemoved { listener });
        Ok(())
    }

    /// Registers a backend, cancels its drain, or changes its weight.
    fn register(&mut self, lb: &str, id: &BackendId, spec: BackendSpec) -> Result<(), Error> {
        let name = self.living(lb)?;
        let (_, entry) = self.state.lb(lb)?;
        let watched = entry.health_check.is_some();
        let known = entry.backend(id.as_str()).map(|(_, backend)| backend);
        match known {
            Some(backend) if !backend.life.is_gone() => {
                if backend.address != spec.address {
                    return Err(Error::OtherAddress {
                        lb: lb.to_owned(),
                        id: id.to_string(),
                        registered: backend.address,
                        asked: spec.address,
                    });
                }
                self.register_again(&name, id, spec);
                Ok(())
            }
            gone => {
                let remembered = gone.map(|gone| gone.life);
                self.register_new(&name, id, spec, remembered, watched)
            }
        }
    }

    fn register_new(
        &mut self,
        lb: &LbName,
        id: &BackendId,
        spec: BackendSpec,
        remembered: Option<Life>,
        watched: bool,
    ) -> Result<(), Error> {
        let node = &mut self.state.node;
        let life = match remembered {
            Some(mut life) => {
                life.register(watched, &mut node.epochs);
                life
            }
            None => Life::begin(watched, &mut node.epochs),
        };
        let index = node
            .take_backend_index(self.sizes.backends)
            .ok_or_else(|| self.sizes.full(Counted::Backends))?;
        let lb_mut = self.lb_mut(lb.as_str())?;
        let backend = desired::Backend {
            address: spec.address,
            weight: spec.weight,
            asked: life.asked,
        };
        let spot = Spot {
            index: Some(index),
            found: life.found,
            next_hop: None,
        };
        lb_mut.desired.backends.insert(id.clone(), backend);
        lb_mut.node.backends.insert(id.clone(), spot);
        self.note(lb, Some(id), What::Registered);
        Ok(())
    }

    fn register_again(&mut self, lb: &LbName, id: &BackendId, spec: BackendSpec) {
        let weighed = self.lb_mut(lb.as_str()).ok().and_then(|lb| {
            let backend = lb.desired.backends.get_mut(id)?;
            Some(std::mem::replace(&mut backend.weight, spec.weight))
        });
        // It is not gone, so that its health is what it was.
        let step = self.live(lb, id, |life, epochs| life.register(false, epochs));
        if step == Some(Step::Cancelled) {
            let outcome = DrainOutcome::Cancelled.into();
            self.note(lb, Some(id), What::DrainEnded { outcome });
        }
        if let Some(from) = weighed.filter(|from| *from != spec.weight) {
            let (from, to) = (from.get(), spec.weight.get());
            self.note(lb, Some(id), What::WeightChanged { from, to });
        }
    }

    /// Stops new flows; [`Command::Polled`] does the rest, once that is in
    /// force.
    fn deregister(&mut self, lb: &str, id: &str, how: Leave) -> Result<(), Error> {
        let (name, id) = self.names(lb, id)?;
        let now = self.now.moment;
        let attribute = self.state.lb(lb)?.1.attributes.drain();
        let step = self.live(&name, &id, |life, _| life.deregister(now, how, attribute));
        // `DrainStarted` is said by the first look at its flows.
        if let Some(Step::DeadlineMoved { timeout }) = step {
            self.note(&name, Some(&id), What::DrainDeadlineMoved { timeout });
        }
        Ok(())
    }

    /// A look at a drain, with ties that were read when the kernel knew of it.
    fn poll(&mut self, lb: &LbName, id: &BackendId, ties: Ties) {
        let now = self.now.moment;
        let polled = self.live(lb, id, |life, epochs| {
            let timeout = life.drain().map_or(0, |drain| drain.timeout);
            (timeout, life.poll(now, ties, epochs))
        });
        let Some((timeout, polled)) = polled else {
            return;
        };
        if polled.first {
            let flows = ties.flows;
            self.note(lb, Some(id), What::DrainStarted { timeout, flows });
        }
        match polled.step {
            Step::Cutting { flows } => self.note(lb, Some(id), What::DrainCutting { flows }),
            Step::Gone => self.gone(lb, id),
            _ => {}
        }
    }

    /// The data plane has closed what was disowned.
    fn closed(&mut self, lb: &LbName, id: &BackendId, epoch: Epoch, flows: u64) {
        let now = self.now.moment;
        match self.live(lb, id, |life, _| life.closed(now, epoch, flows)) {
            Some(Step::Cut { flows }) => self.note(lb, Some(id), What::FlowsCut { flows }),
            Some(Step::Gone) => self.gone(lb, id),
            _ => {}
        }
    }

    /// The data plane knows the next hop to a backend, or that there is none.
    fn hear(&mut self, lb: &LbName, id: &BackendId, next_hop: Resolution) {
        let known = self.state.backend(lb.as_str(), id.as_str());
        // It may have been under way when the backend left.
        if !known.is_ok_and(|(_, known)| known.index.is_some() && known.next_hop != Some(&next_hop))
        {
            return;
        }
        let what = match &next_hop {
            Ok(hop) => What::NextHopKnown {
                interface: hop.interface.clone(),
                mac: hop.mac.clone(),
            },
            Err(reason) => What::NextHopLost {
                reason: reason.clone(),
            },
        };
        if let Ok(lb) = self.lb_mut(lb.as_str())
            && let Some(spot) = lb.node.backends.get_mut(id)
        {
            spot.next_hop = Some(next_hop);
        }
        self.note(lb, Some(id), what);
    }

    fn set_by_hand(&mut self, lb: &str, id: &str, by_hand: Option<Health>) -> Result<(), Error> {
        self.health(lb, id, |life, draining, epochs| {
            life.set_by_hand(by_hand, draining, epochs)
        })
    }

    /// Takes in what the checks of a backend add up to.
    fn checked(&mut self, lb: &str, id: &str, report: HealthReport) -> Result<(), Error> {
        let before = self.state.backend(lb, id)?.1.life.checked();
        if self.state.lb(lb)?.1.health_check.is_none() {
            // The check was removed while this one was under way.
            return Ok(());
        }
        let (health, what) = match report {
            HealthReport::Healthy => (Health::Healthy, Some(What::CheckPassed)),
            HealthReport::Unhealthy(reason) => {
                (Health::Unhealthy, Some(What::CheckFailed { reason }))
            }
            HealthReport::Unknown => (Health::Unknown, None),
        };
        self.health(lb, id, |life, draining, epochs| {
            life.check(Some(health), draining, epochs)
        })?;
        if let Some(what) = what.filter(|_| before != Some(health)) {
            let (name, id) = self.names(lb, id)?;
            self.note(&name, Some(&id), what);
        }
        Ok(())
    }

    /// From now on backends are checked like this, or not at all. Whoever is
    /// in service stays so until the check has found otherwise.
    fn set_health_check(&mut self, name: &str, check: Option<HealthCheck>) -> Result<(), Error> {
        let (key, lb) = self.state.lb(name)?;
        if lb.health_check == check {
            return Ok(());
        }
        let key = key.clone();
        let draining = lb.attributes.draining;
        let present: Vec<BackendId> = lb.present().map(|(id, _)| id.clone()).collect();
        let lb = self.lb_mut(name)?.desired;
        let from = std::mem::replace(&mut lb.health_check, check.clone());
        for id in present {
            self.live(&key, &id, |life, epochs| {
                let checked = check
                    .is_some()
                    .then(|| life.checked().unwrap_or(Health::Healthy));
                life.check(checked, draining, epochs)
            });
        }
        let what = What::HealthCheckChanged {
            from: from.map(Into::into),
            to: check.map(Into::into),
        };
        self.note(&key, None, what);
        Ok(())
    }

    fn health(
        &mut self,
        lb: &str,
        id: &str,
        say: impl FnOnce(&mut Life, bool, &mut Epochs) -> Step,
    ) -> Result<(), Error> {
        let (name, id) = self.names(lb, id)?;
        let (_, entry) = self.state.lb(lb)?;
        let draining = entry.attributes.draining;
        if entry
            .backend(id.as_str())
            .is_none_or(|(_, b)| b.life.is_gone())
        {
            return Err(Error::NotRegistered {
                lb: name.to_string(),
                id: id.to_string(),
            });
        }
        self.live(&name, &id, |life, epochs| say(life, draining, epochs));
        Ok(())
    }

    fn set_attributes(&mut self, name: &str, spec: AttributesSpec) -> Result<(), Error> {
        let lb = self.lb_mut(name)?.desired;
        let from = lb.attributes;
        lb.attributes = from.with(spec);
        let to = lb.attributes;
        if from != to {
            let name = self.state.lb(name)?.0.clone();
            let (from, to) = (from.into(), to.into());
            self.note(&name, None, What::AttributesChanged { from, to });
        }
        Ok(())
    }

    /// Keeps what the ELB API remembers of the load balancer, unread.
    fn keep_elb(&mut self, name: &str, elb: Value) -> Result<(), Error> {
        let lb = self.lb_mut(name)?.desired;
        let before = std::mem::replace(&mut lb.elb, elb);
        let changed = differing_keys(&before, &lb.elb);
        if !changed.is_empty() {
            let name = self.state.lb(name)?.0.clone();
            self.note(&name, None, What::ElbRecordChanged { changed });
        }
        Ok(())
    }

    /// Forgets what need not be remembered: load balancers whose deletion is
    /// over, and backends that have been gone for long enough.
    fn settle(&mut self, index: &Index) {
        let now = self.now.moment;
        let due = index.forgettable(now).cloned();
        let names: Vec<LbName> = self.touched.iter().cloned().chain(due).collect();
        for name in names {
            let Some((_, lb)) = self.state.find(name.as_str()) else {
                continue;
            };
            if lb.deleting && lb.present().next().is_none() {
                let index = lb.index();
                let State { desired, node } = &mut self.state;
                desired.load_balancers.remove(&name);
                node.load_balancers.remove(&name);
                node.give_lb_index_back(index);
                self.touched.insert(name.clone());
                self.note(&name, None, What::LoadBalancerDeleted);
                continue;
            }
            let forgotten: Vec<BackendId> = lb
                .backends()
                .filter(|(_, backend)| backend.life.forgettable(now))
                .map(|(id, _)| id.clone())
                .collect();
            if !forgotten.is_empty()
                && let Ok(lb) = self.lb_mut(name.as_str())
            {
                for id in forgotten {
                    lb.desired.backends.remove(&id);
                    lb.node.backends.remove(&id);
                }
            }
        }
    }

    fn gone(&mut self, lb: &LbName, id: &BackendId) {
        let retired = self.lb_mut(lb.as_str()).ok().and_then(|lb| {
            let spot = lb.node.backends.get_mut(id)?;
            spot.next_hop = None;
            spot.index.take()
        });
        if let Some(index) = retired {
            self.state.node.retire(index);
        }
        let known = self.state.backend(lb.as_str(), id.as_str());
        let drain = known.ok().and_then(|(_, gone)| gone.life.drain().cloned());
        if let Some(outcome) = drain.and_then(|drain| drain.outcome) {
            let outcome = outcome.into();
            self.note(lb, Some(id), What::DrainEnded { outcome });
        }
        self.note(lb, Some(id), What::Deregistered);
    }

    /// The name of a load balancer that is not being deleted.
    fn living(&self, name: &str) -> Result<LbName, Error> {
        let (key, lb) = self.state.lb(name)?;
        if lb.deleting {
            return Err(Error::BeingDeleted {
                name: key.to_string(),
                draining: lb.present().count(),
            });
        }
        Ok(key.clone())
    }

    fn names(&self, lb: &str, id: &str) -> Result<(LbName, BackendId), Error> {
        let name = self.state.lb(lb)?.0.clone();
        let id = self.state.backend(lb, id)?.0.clone();
        Ok((name, id))
    }

    /// A step of a backend's life; `None` if there is no such backend.
    fn live<T>(
        &mut self,
        lb: &LbName,
        id: &BackendId,
        step: impl FnOnce(&mut Life, &mut Epochs) -> T,
    ) -> Option<T> {
        let (_, backend) = self.state.find(lb.as_str())?.1.backend(id.as_str())?;
        let (mut life, before) = (backend.life.clone(), backend.life);
        let stepped = step(&mut life, &mut self.state.node.epochs);
        if life != before
            && let Ok(lb) = self.lb_mut(lb.as_str())
            && let Some(backend) = lb.desired.backends.get_mut(id)
            && let Some(spot) = lb.node.backends.get_mut(id)
        {
            backend.asked = life.asked;
            spot.found = life.found;
        }
        Some(stepped)
    }
}

/// Both halves of a load balancer, to be changed.
struct LbMut<'a> {
    desired: &'a mut LoadBalancer,
    node: &'a mut Placement,
}

/// The keys of two objects whose values are not the same.
fn differing_keys(one: &Value, other: &Value) -> Vec<String> {
    let keys = |value: &Value| {
        let keys = value.as_object().into_iter().flat_map(|map| map.keys());
        keys.cloned().collect::<BTreeSet<_>>()
    };
    let all = keys(one).union(&keys(other)).cloned().collect::<Vec<_>>();
    all.into_iter()
        .filter(|key| one.get(key) != other.get(key))
        .collect()
}
