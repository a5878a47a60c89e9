//! From what a document declares to the edits that make it so. Pure.
//!
//! Two ways to read a document:
//!
//! - **Reload** (start, SIGHUP) is a three-way merge: the document now, the
//!   document when it was last put in force, and the state. Only what changed
//!   between the first two is done. A backend that an operator drained by hand
//!   does not come back because the agent restarted.
//! - **Enforce** (`ebb apply`) makes the load balancers that the document names
//!   be as it says, whatever was done to them by hand.
//!
//! Either way a load balancer that the same source named the last time and
//! names no longer is deleted, and its flows drain; those that it never named
//! are not its business.

use super::{command::Command, edit::Draft, error::Error};
use serde_json::Value;

use crate::{
    model::{
        Attribute, Attributes, AttributesSpec, BackendId, BackendSpec, Declaration, HealthCheck,
        LbName, LbSpec, Leave, ListenerKey, Weight,
    },
    state::{State, desired::LoadBalancer},
    wire::{Step, StepAction},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Reload,
    Enforce,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    Create(LbName, LbSpec),
    Delete(LbName),
    AddListener(LbName, ListenerKey, u16),
    ChangeListener(LbName, ListenerKey, u16, u16),
    RemoveListener(LbName, ListenerKey),
    Register(LbName, BackendId, BackendSpec),
    CancelDrain(LbName, BackendId, BackendSpec),
    Weigh(LbName, BackendId, BackendSpec, Weight),
    Deregister(LbName, BackendId),
    SetAttributes(LbName, AttributesSpec, Attributes),
    SetHealthCheck(LbName, Option<HealthCheck>, Option<String>),
}

/// The edits that make `wanted` so, in an order in which they can be done: what
/// gives listeners up comes before what takes them.
///
/// # Errors
/// [`Error::OtherMode`], [`Error::OtherAddress`]: what cannot be changed.
pub fn merge(
    state: &State,
    source: &str,
    wanted: &Declaration,
    reading: Reading,
) -> Result<Vec<Edit>, Error> {
    let nothing = Declaration::new();
    let base = state.desired.declared.get(source);
    let base = base.map_or(&nothing, |declared| &**declared);
    let mut give = Vec::new();
    let mut take = Vec::new();

    let lbs = &state.desired.load_balancers;
    for name in base.keys() {
        let there = lbs.get(name).is_some_and(|lb| !lb.deleting);
        if there && !wanted.contains_key(name) {
            give.push(Edit::Delete(name.clone()));
        }
    }
    for (name, spec) in wanted {
        let declared = base.get(name);
        match lbs.get(name).filter(|lb| !lb.deleting) {
            Some(lb) => {
                let mut one = One {
                    name,
                    lb,
                    spec,
                    // To enforce is to take nothing as said before.
                    base: declared.filter(|_| reading == Reading::Reload),
                    enforce: reading == Reading::Enforce,
                    give: &mut give,
                    take: &mut take,
                };
                one.merge()?;
            }
            // Deleted by hand since, and the document has not changed.
            None if reading == Reading::Reload && declared == Some(spec) => {}
            None => take.push(Edit::Create(name.clone(), spec.clone())),
        }
    }
    give.append(&mut take);
    Ok(give)
}

/// One load balancer that is there and is declared.
struct One<'a> {
    name: &'a LbName,
    lb: &'a LoadBalancer,
    spec: &'a LbSpec,
    base: Option<&'a LbSpec>,
    enforce: bool,
    give: &'a mut Vec<Edit>,
    take: &'a mut Vec<Edit>,
}

impl One<'_> {
    fn merge(&mut self) -> Result<(), Error> {
        if self.base == Some(self.spec) {
            return Ok(());
        }
        if self.lb.mode != self.spec.mode {
            return Err(Error::OtherMode {
                lb: self.name.to_string(),
                current: self.lb.mode.name(),
                asked: self.spec.mode.name(),
            });
        }
        self.listeners();
        self.backends()?;
        self.attributes();
        self.health_check();
        Ok(())
    }

    fn listeners(&mut self) {
        for (key, port) in &self.spec.listeners {
            let said = self.base.and_then(|base| base.listeners.get(key));
            if said == Some(port) {
                continue;
            }
            match self.lb.listeners.get(key) {
                None => {
                    let edit = Edit::AddListener(self.name.clone(), *key, *port);
                    self.take.push(edit);
                }
                Some(now) if now != port => {
                    let edit = Edit::ChangeListener(self.name.clone(), *key, *now, *port);
                    self.take.push(edit);
                }
                Some(_) => {}
            }
        }
        for key in self.lb.listeners.keys() {
            let said = self
                .base
                .is_some_and(|base| base.listeners.contains_key(key));
            if !self.spec.listeners.contains_key(key) && (said || self.enforce) {
                let edit = Edit::RemoveListener(self.name.clone(), *key);
                self.give.push(edit);
            }
        }
    }

    fn backends(&mut self) -> Result<(), Error> {
        for (id, spec) in &self.spec.backends {
            let said = self.base.and_then(|base| base.backends.get(id));
            if said == Some(spec) {
                continue;
            }
            let name = self.name.clone();
            let there = self
                .lb
                .backends
                .get(id)
                .filter(|b| !b.asked.registration.is_gone());
            match there {
                None => {
                    // Gone by hand since, and the document only gives it
                    // another weight.
                    if said.is_none_or(|said| said.address != spec.address) {
                        self.take.push(Edit::Register(name, id.clone(), *spec));
                    }
                }
                Some(backend) if backend.address != spec.address => {
                    return Err(Error::OtherAddress {
                        lb: name.to_string(),
                        id: id.to_string(),
                        registered: backend.address,
                        asked: spec.address,
                    });
                }
                Some(backend) if !backend.asked.registration.is_registered() => {
                    if said.is_none() {
                        self.take.push(Edit::CancelDrain(name, id.clone(), *spec));
                    }
                }
                Some(backend) if backend.weight != spec.weight => {
                    let edit = Edit::Weigh(name, id.clone(), *spec, backend.weight);
                    self.take.push(edit);
                }
                Some(_) => {}
            }
        }
        for (id, backend) in &self.lb.backends {
            let said = self.base.is_some_and(|base| base.backends.contains_key(id));
            if !self.spec.backends.contains_key(id)
                && (said || self.enforce)
                && backend.asked.registration.is_registered()
            {
                let edit = Edit::Deregister(self.name.clone(), id.clone());
                self.give.push(edit);
            }
        }
        Ok(())
    }

    fn attributes(&mut self) {
        let spec = if self.enforce {
            complete(self.spec.attributes)
        } else {
            let base = self.base.map(|base| base.attributes).unwrap_or_default();
            changed(base, self.spec.attributes)
        };
        let now = self.lb.attributes;
        if now.with(spec) != now {
            let edit = Edit::SetAttributes(self.name.clone(), spec, now);
            self.take.push(edit);
        }
    }

    fn health_check(&mut self) {
        let wanted = self.spec.health_check.as_ref();
        let said = self.base.and_then(|base| base.health_check.as_ref());
        // A document that never spoke of one leaves the operator's alone.
        let speaks = self.enforce || self.base.is_none() && wanted.is_some() || said != wanted;
        let now = self.lb.health_check.as_ref();
        if speaks && wanted != now {
            let edit = Edit::SetHealthCheck(
                self.name.clone(),
                wanted.cloned(),
                now.map(|now| now.target().to_string()),
            );
            self.take.push(edit);
        }
    }
}

/// What is left out is the default.
fn complete(spec: AttributesSpec) -> AttributesSpec {
    let all = Attributes::default().with(spec);
    AttributesSpec {
        draining: Some(all.draining),
        drain_timeout: Some(all.drain_timeout),
        idle_timeout: Some(all.idle_timeout),
        close_rate: Some(all.close_rate),
        nat_source: Some(all.nat_source),
    }
}

/// What the document says otherwise than before. What it says no longer goes
/// back to the default.
fn changed(before: AttributesSpec, after: AttributesSpec) -> AttributesSpec {
    fn one<T: Copy + PartialEq>(before: Option<T>, after: Option<T>, default: T) -> Option<T> {
        if before == after {
            None
        } else {
            Some(after.unwrap_or(default))
        }
    }
    let default = Attributes::default();
    AttributesSpec {
        draining: one(before.draining, after.draining, default.draining),
        drain_timeout: one(
            before.drain_timeout,
            after.drain_timeout,
            default.drain_timeout,
        ),
        idle_timeout: one(
            before.idle_timeout,
            after.idle_timeout,
            default.idle_timeout,
        ),
        close_rate: one(before.close_rate, after.close_rate, default.close_rate),
        nat_source: one(before.nat_source, after.nat_source, default.nat_source),
    }
}

impl Edit {
    /// # Errors
    /// What the [`Draft`] refuses.
    pub fn make(&self, draft: &mut Draft) -> Result<(), Error> {
        draft.make(self.command())
    }

    fn command(&self) -> Command {
        let name = |lb: &LbName| lb.to_string();
        match self {
            Self::Create(lb, spec) => Command::Create(lb.clone(), spec.clone(), Value::Null),
            Self::Delete(lb) => Command::Delete(name(lb), Leave::ByAttributes),
            Self::AddListener(lb, key, port) | Self::ChangeListener(lb, key, _, port) => {
                Command::AddListener(name(lb), *key, *port)
            }
            Self::RemoveListener(lb, key) => Command::RemoveListener(name(lb), *key),
            Self::Register(lb, id, spec)
            | Self::CancelDrain(lb, id, spec)
            | Self::Weigh(lb, id, spec, _) => Command::Register(name(lb), id.clone(), *spec),
            Self::Deregister(lb, id) => {
                Command::Deregister(name(lb), id.to_string(), Leave::ByAttributes)
            }
            Self::SetAttributes(lb, spec, _) => Command::SetAttributes(name(lb), *spec),
            Self::SetHealthCheck(lb, check, _) => Command::SetHealthCheck(name(lb), check.clone()),
        }
    }

    /// For people, before or after it is done.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        let step = |action, lb: &LbName, subject: Option<String>, detail: Option<String>| Step {
            action,
            load_balancer: lb.to_string(),
            subject,
            detail,
        };
        let backend = |id: &BackendId| Some(format!("backend {id}"));
        let listener = |key: &ListenerKey| Some(format!("listener {key}"));
        match self {
            Self::Create(lb, spec) => {
                let mut steps = vec![step(
                    StepAction::Add,
                    lb,
                    None,
                    Some(format!("mode {}", spec.mode.name())),
                )];
                for (key, port) in &spec.listeners {
                    let detail = Some(format!("to port {port}"));
                    steps.push(step(StepAction::Add, lb, listener(key), detail));
                }
                for (id, spec) in &spec.backends {
                    let detail = Some(format!("{} weight {}", spec.address, spec.weight));
                    steps.push(step(StepAction::Add, lb, backend(id), detail));
                }
                steps
            }
            Self::Delete(lb) => vec![step(StepAction::Drain, lb, None, None)],
            Self::AddListener(lb, key, port) => {
                let detail = Some(format!("to port {port}"));
                vec![step(StepAction::Add, lb, listener(key), detail)]
            }
            Self::ChangeListener(lb, key, from, to) => {
                let detail = Some(format!("to port {from} → {to}"));
                vec![step(StepAction::Change, lb, listener(key), detail)]
            }
            Self::RemoveListener(lb, key) => {
                vec![step(StepAction::Remove, lb, listener(key), None)]
            }
            Self::Register(lb, id, spec) => {
                let detail = Some(format!("{} weight {}", spec.address, spec.weight));
                vec![step(StepAction::Add, lb, backend(id), detail)]
            }
            Self::CancelDrain(lb, id, _) => {
                let detail = Some("draining → registered".to_owned());
                vec![step(StepAction::Change, lb, backend(id), detail)]
            }
            Self::Weigh(lb, id, spec, from) => {
                let detail = Some(format!("weight {from} → {}", spec.weight));
                vec![step(StepAction::Change, lb, backend(id), detail)]
            }
            Self::Deregister(lb, id) => vec![step(StepAction::Drain, lb, backend(id), None)],
            Self::SetHealthCheck(lb, to, from) => {
                let subject = Some("health check".to_owned());
                let to = to.as_ref().map(|to| to.target().to_string());
                let (action, detail) = match (from, to) {
                    (None, Some(to)) => (StepAction::Add, Some(to)),
                    (Some(from), Some(to)) => (StepAction::Change, Some(format!("{from} → {to}"))),
                    (from, None) => (StepAction::Remove, from.clone()),
                };
                vec![step(action, lb, subject, detail)]
            }
            Self::SetAttributes(lb, spec, now) => {
                let to = now.with(*spec);
                Attribute::ALL
                    .into_iter()
                    .map(|attribute| (attribute.file(), attribute.of(now), attribute.of(&to)))
                    .filter(|(_, from, to)| from != to)
                    .map(|(key, from, to)| {
                        let detail = Some(format!("{from} → {to}"));
                        step(StepAction::Change, lb, Some(key.to_owned()), detail)
                    })
                    .collect()
            }
        }
    }
}
