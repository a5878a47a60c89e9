//! Changes to the state, on a copy of it. Pure: a [`Draft`] becomes the state
//! when the control task has stored it and put it in force, or is dropped.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{
    backend::{Epochs, Health, Life, Step},
    error::Error,
    state::{Backend, LoadBalancer, State},
};
use crate::{
    clock::Now,
    dataplane::Ties,
    model::{
        Attributes, AttributesSpec, BackendId, BackendIndex, BackendSpec, DrainOutcome, Epoch,
        HealthCheck, LbIndex, LbName, LbSpec, Leave, ListenerKey,
    },
    tables::{Counted, TableSizes},
    wire::What,
};

/// Something that will have happened when the draft is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub lb: LbName,
    pub backend: Option<BackendId>,
    pub what: What,
}

/// A copy of the state that is being changed.
#[derive(Debug, Clone)]
pub struct Draft {
    pub state: State,
    pub now: Now,
    /// What there is room for.
    pub sizes: TableSizes,
    pub notes: Vec<Note>,
}

impl Draft {
    #[must_use]
    pub fn new(state: &State, now: Now, sizes: TableSizes) -> Self {
        Self {
            state: state.clone(),
            now,
            sizes,
            notes: Vec::new(),
        }
    }

    /// True if nothing differs from `state`.
    #[must_use]
    pub fn is_no_change(&self, state: &State) -> bool {
        self.state == *state
    }

    /// The rules that no part can be checked against alone, and whether
    /// everything fits.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Full`].
    pub fn validate(&self) -> Result<(), Error> {
        self.state.check()?;
        Ok(self.state.fits(&self.sizes)?)
    }

    fn note(&mut self, lb: &LbName, backend: Option<&BackendId>, what: What) {
        self.notes.push(Note {
            lb: lb.clone(),
            backend: backend.cloned(),
            what,
        });
    }

    fn lb_mut(&mut self, name: &str) -> Result<&mut LoadBalancer, Error> {
        if !self.state.load_balancers.contains_key(name) {
            return Err(self.state.no_such_lb(name));
        }
        let lb = self.state.load_balancers.get_mut(name);
        Ok(lb.expect("it was there in the line above"))
    }

    /// Creates a load balancer, or takes the deletion of one back.
    ///
    /// # Errors
    /// [`Error::LoadBalancerExists`], [`Error::OtherMode`], [`Error::Full`],
    /// and those of [`Draft::register`].
    pub fn create(&mut self, name: &LbName, spec: &LbSpec) -> Result<(), Error> {
        match self.state.load_balancers.get_mut(name) {
            None => {
                let lb = LoadBalancer {
                    index: self.free_lb_index()?,
                    mode: spec.mode,
                    created: self.now.wall,
                    listeners: spec.listeners.clone(),
                    attributes: Attributes::default().with(spec.attributes),
                    health_check: spec.health_check.clone(),
                    backends: BTreeMap::new(),
                    deleting: false,
                    held: BTreeSet::new(),
                    elb: Value::Null,
                };
                self.state.load_balancers.insert(name.clone(), lb);
            }
            Some(lb) if !lb.deleting => {
                return Err(Error::LoadBalancerExists {
                    name: name.to_string(),
                });
            }
            Some(lb) if lb.mode != spec.mode => {
                return Err(Error::OtherMode {
                    lb: name.to_string(),
                    current: lb.mode.name(),
                    asked: spec.mode.name(),
                });
            }
            Some(lb) => {
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

    /// Takes the listeners away and deregisters every backend. Answers with
    /// the ids of those that were still registered.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub fn delete(&mut self, name: &str, how: Leave) -> Result<Vec<BackendId>, Error> {
        let key = self.state.lb(name)?.0.clone();
        let lb = self.lb_mut(name)?;
        let begun = !std::mem::replace(&mut lb.deleting, true);
        let listeners = std::mem::take(&mut lb.listeners);
        lb.held.extend(listeners.keys().map(|key| key.address));
        let leaving: Vec<BackendId> = lb.present().map(|(id, _)| id.clone()).collect();
        let registered = lb
            .present()
            .filter(|(_, backend)| backend.life.is_registered())
            .map(|(id, _)| id.clone())
            .collect();
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
        Ok(registered)
    }

    /// Adds a listener, or gives one that is there another backend port.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::BeingDeleted`].
    pub fn add_listener(
        &mut self,
        name: &str,
        key: ListenerKey,
        backend_port: u16,
    ) -> Result<(), Error> {
        let lb = self.living(name)?;
        lb.held.remove(&key.address);
        let before = lb.listeners.insert(key, backend_port);
        if before != Some(backend_port) {
            let name = self.state.lb(name)?.0.clone();
            let listener = key.to_string();
            self.note(&name, None, What::ListenerAdded { listener });
        }
        Ok(())
    }

    /// Lets no new flow in by this listener. Its address stays for the open
    /// ones.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchListener`].
    pub fn remove_listener(&mut self, name: &str, key: ListenerKey) -> Result<(), Error> {
        let lb = self.lb_mut(name)?;
        if lb.listeners.remove(&key).is_none() {
            return Err(Error::NoSuchListener {
                lb: name.to_owned(),
                listener: key.to_string(),
            });
        }
        if !lb
            .listeners
            .keys()
            .any(|other| other.address == key.address)
        {
            lb.held.insert(key.address);
        }
        let name = self.state.lb(name)?.0.clone();
        let listener = key.to_string();
        self.note(&name, None, What::ListenerRemoved { listener });
        Ok(())
    }

    /// Registers a backend, cancels its drain, or changes its weight.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::BeingDeleted`],
    /// [`Error::OtherAddress`], [`Error::Full`].
    pub fn register(&mut self, lb: &str, id: &BackendId, spec: BackendSpec) -> Result<(), Error> {
        let name = self.state.lb(lb)?.0.clone();
        let entry = self.living(lb)?;
        let watched = entry.health_check.is_some();
        let known = entry
            .backends
            .get(id)
            .filter(|backend| !backend.life.is_gone());
        match known {
            Some(backend) if backend.address != spec.address => Err(Error::OtherAddress {
                lb: lb.to_owned(),
                id: id.to_string(),
                registered: backend.address,
                asked: spec.address,
            }),
            Some(_) => {
                self.register_again(&name, id, spec);
                Ok(())
            }
            None => {
                let remembered = entry.backends.get(id).map(|gone| gone.life.clone());
                let epochs = &mut self.state.epochs;
                let life = match remembered {
                    Some(mut life) => {
                        life.register(watched, epochs);
                        life
                    }
                    None => Life::begin(watched, epochs),
                };
                let backend = Backend {
                    address: spec.address,
                    weight: spec.weight,
                    index: Some(self.free_backend_index()?),
                    life,
                };
                let entry = self.living(lb)?;
                entry.backends.insert(id.clone(), backend);
                self.note(&name, Some(id), What::Registered);
                Ok(())
            }
        }
    }

    fn register_again(&mut self, lb: &LbName, id: &BackendId, spec: BackendSpec) {
        let Some((backend, epochs)) = self.backend_mut(lb, id) else {
            return;
        };
        let from = std::mem::replace(&mut backend.weight, spec.weight);
        // It is not gone, so that its health is what it was.
        if backend.life.register(false, epochs) == Step::Cancelled {
            let outcome = DrainOutcome::Cancelled;
            self.note(
                lb,
                Some(id),
                What::DrainEnded {
                    outcome: outcome.into(),
                },
            );
        }
        if from != spec.weight {
            let (from, to) = (from.get(), spec.weight.get());
            self.note(lb, Some(id), What::WeightChanged { from, to });
        }
    }

    /// Stops new flows; [`Draft::poll`] does the rest, once that is in force.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`].
    pub fn deregister(&mut self, lb: &str, id: &str, how: Leave) -> Result<(), Error> {
        let (name, id) = self.names(lb, id)?;
        let now = self.now.moment;
        let entry = self.lb_mut(lb)?;
        let attribute = entry.attributes.drain();
        let Some(backend) = entry.backends.get_mut(&id) else {
            return Ok(());
        };
        // `DrainStarted` is said by the first look at its flows.
        if let Step::DeadlineMoved { timeout } = backend.life.deregister(now, how, attribute) {
            self.note(&name, Some(&id), What::DrainDeadlineMoved { timeout });
        }
        Ok(())
    }

    /// A look at a drain, with ties that were read when the kernel knew of it.
    pub fn poll(&mut self, lb: &LbName, id: &BackendId, ties: Ties) {
        let now = self.now.moment;
        let Some((backend, epochs)) = self.backend_mut(lb, id) else {
            return;
        };
        let timeout = backend.life.drain().map_or(0, |drain| drain.timeout);
        let polled = backend.life.poll(now, ties, epochs);
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
    pub fn closed(&mut self, index: BackendIndex, epoch: Epoch, flows: u64) {
        let Some((lb, id)) = self
            .state
            .by_index(index)
            .map(|(lb, id, _)| (lb.clone(), id.clone()))
        else {
            return;
        };
        let now = self.now.moment;
        let Some((backend, _)) = self.backend_mut(&lb, &id) else {
            return;
        };
        match backend.life.closed(now, epoch, flows) {
            Step::Cut { flows } => self.note(&lb, Some(&id), What::FlowsCut { flows }),
            Step::Gone => self.gone(&lb, &id),
            _ => {}
        }
    }

    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`],
    /// [`Error::NotRegistered`].
    pub fn set_by_hand(
        &mut self,
        lb: &str,
        id: &str,
        by_hand: Option<Health>,
    ) -> Result<(), Error> {
        self.health(lb, id, |life, draining, epochs| {
            life.set_by_hand(by_hand, draining, epochs)
        })
    }

    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`],
    /// [`Error::NotRegistered`].
    pub fn check(&mut self, lb: &str, id: &str, checked: Option<Health>) -> Result<(), Error> {
        self.health(lb, id, |life, draining, epochs| {
            life.check(checked, draining, epochs)
        })
    }

    /// From now on backends are checked like this, or not at all. Whoever is
    /// in service stays so until the check has found otherwise.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub fn set_health_check(
        &mut self,
        name: &str,
        check: Option<HealthCheck>,
    ) -> Result<(), Error> {
        let key = self.state.lb(name)?.0.clone();
        let lb = self.lb_mut(name)?;
        if lb.health_check == check {
            return Ok(());
        }
        let from = std::mem::replace(&mut lb.health_check, check.clone());
        let draining = lb.attributes.draining;
        let present: Vec<BackendId> = lb.present().map(|(id, _)| id.clone()).collect();
        for id in present {
            let Some((backend, epochs)) = self.backend_mut(&key, &id) else {
                continue;
            };
            let checked = check
                .is_some()
                .then(|| backend.life.checked().unwrap_or(Health::Healthy));
            backend.life.check(checked, draining, epochs);
        }
        let what = What::HealthCheckChanged {
            from: from.map(Into::into),
            to: check.map(Into::into),
        };
        self.note(&key, None, what);
        Ok(())
    }

    /// Says what the checks of a backend add up to.
    pub fn note_check(&mut self, lb: &str, id: &str, what: What) {
        if let Ok((name, id)) = self.names(lb, id) {
            self.note(&name, Some(&id), what);
        }
    }

    fn health(
        &mut self,
        lb: &str,
        id: &str,
        say: impl FnOnce(&mut Life, bool, &mut Epochs) -> Step,
    ) -> Result<(), Error> {
        let (name, id) = self.names(lb, id)?;
        let draining = self.state.lb(lb)?.1.attributes.draining;
        let Some((backend, epochs)) = self.backend_mut(&name, &id) else {
            return Ok(());
        };
        if backend.life.is_gone() {
            return Err(Error::NotRegistered {
                lb: name.to_string(),
                id: id.to_string(),
            });
        }
        say(&mut backend.life, draining, epochs);
        Ok(())
    }

    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub fn set_attributes(&mut self, name: &str, spec: AttributesSpec) -> Result<(), Error> {
        let lb = self.lb_mut(name)?;
        let from = lb.attributes;
        lb.attributes = from.with(spec);
        let to = lb.attributes;
        if from != to {
            let name = self.state.lb(name)?.0.clone();
            self.note(
                &name,
                None,
                What::AttributesChanged {
                    from: from.into(),
                    to: to.into(),
                },
            );
        }
        Ok(())
    }

    /// Keeps what the ELB API remembers of the load balancer, unread.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub fn keep_elb(&mut self, name: &str, elb: Value) -> Result<(), Error> {
        let lb = self.lb_mut(name)?;
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
    pub fn settle(&mut self) {
        let now = self.now.moment;
        let mut deleted = Vec::new();
        self.state.load_balancers.retain(|name, lb| {
            lb.backends
                .retain(|_, backend| !backend.life.forgettable(now));
            let over = lb.deleting && lb.present().next().is_none();
            if over {
                deleted.push(name.clone());
            }
            !over
        });
        for name in deleted {
            self.note(&name, None, What::LoadBalancerDeleted);
        }
    }

    fn gone(&mut self, lb: &LbName, id: &BackendId) {
        let Some((backend, _)) = self.backend_mut(lb, id) else {
            return;
        };
        let outcome = backend.life.drain().and_then(|drain| drain.outcome);
        if let Some(index) = backend.index.take() {
            self.state.retired.insert(index);
        }
        if let Some(outcome) = outcome {
            self.note(
                lb,
                Some(id),
                What::DrainEnded {
                    outcome: outcome.into(),
                },
            );
        }
        self.note(lb, Some(id), What::Deregistered);
    }

    fn living(&mut self, name: &str) -> Result<&mut LoadBalancer, Error> {
        let (key, lb) = self.state.lb(name)?;
        if lb.deleting {
            return Err(being_deleted(key, lb));
        }
        self.lb_mut(name)
    }

    fn names(&self, lb: &str, id: &str) -> Result<(LbName, BackendId), Error> {
        let name = self.state.lb(lb)?.0.clone();
        let id = self.state.backend(lb, id)?.0.clone();
        Ok((name, id))
    }

    fn backend_mut(&mut self, lb: &LbName, id: &BackendId) -> Option<(&mut Backend, &mut Epochs)> {
        let backend = self
            .state
            .load_balancers
            .get_mut(lb)?
            .backends
            .get_mut(id)?;
        Some((backend, &mut self.state.epochs))
    }

    fn free_lb_index(&self) -> Result<LbIndex, Error> {
        let used: BTreeSet<LbIndex> = self
            .state
            .load_balancers
            .values()
            .map(|lb| lb.index)
            .collect();
        (0..LbIndex::MAX)
            .take(self.sizes.load_balancers as usize)
            .find(|index| !used.contains(index))
            .ok_or_else(|| self.sizes.full(Counted::LoadBalancers).into())
    }

    fn free_backend_index(&self) -> Result<BackendIndex, Error> {
        let mut used = vec![false; self.sizes.backends as usize];
        let taken = self
            .state
            .backends()
            .filter_map(|(_, _, backend)| backend.index)
            .chain(self.state.retired.iter().copied());
        for index in taken {
            if let Some(used) = used.get_mut(usize::from(index)) {
                *used = true;
            }
        }
        used.iter()
            .position(|used| !used)
            .and_then(|index| BackendIndex::try_from(index).ok())
            .ok_or_else(|| self.sizes.full(Counted::Backends).into())
    }
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

fn being_deleted(name: &LbName, lb: &LoadBalancer) -> Error {
    Error::BeingDeleted {
        name: name.to_string(),
        draining: lb.present().count(),
    }
}
