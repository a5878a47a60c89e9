//! The state as it lies on disk: documents of JSON with types of their own, so
//! that a name in the program can change and what was written stays readable.
//!
//! - [`desired`]: what people asked for, a document for each load balancer;
//! - [`node`]: this host's part of it, a document for each load balancer too,
//!   and one for what all of them share;
//! - [`declared`]: what a source said last;
//! - this file: which documents a state has, and the state that documents make.

mod bad;
pub mod declared;
pub mod desired;
pub mod node;

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Display},
    net::IpAddr,
    sync::Arc,
};

pub use bad::BadDocument;
use serde::{Serialize, de::DeserializeOwned};

use lb_common::maglev::NO_BACKEND;

use crate::{
    model::{BackendIndex, LbName},
    state::{Desired, Node, State, life::Epochs, node::Placement},
};

/// Which document.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    /// Of what; empty where there is only one.
    pub name: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// What was asked of a load balancer, by its name.
    LoadBalancer,
    /// This host's part of a load balancer, by its name.
    Placement,
    /// What a source declared, by the source's name.
    Declared,
    /// What this host's load balancers share.
    Node,
    /// VIPs on interfaces.
    Vips,
}

impl Kind {
    const ALL: [Self; 5] = [
        Self::LoadBalancer,
        Self::Placement,
        Self::Declared,
        Self::Node,
        Self::Vips,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LoadBalancer => "load_balancer",
            Self::Placement => "placement",
            Self::Declared => "declared",
            Self::Node => "node",
            Self::Vips => "vips",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_str() {
            "" => write!(f, "the {} document", self.kind.name()),
            name => write!(f, "the {} document of {name}", self.kind.name()),
        }
    }
}

/// A document that is not one, and why.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {error}")]
pub struct Fault {
    pub key: Key,
    pub error: BadDocument,
}

/// The documents of `state` that are not those of `before`; `None` for one that
/// is not there any more. Load balancers that both share cost nothing.
///
/// # Errors
/// When one cannot be written as JSON.
pub fn differing(
    before: &State,
    state: &State,
) -> Result<Vec<(Key, Option<String>)>, serde_json::Error> {
    let mut all = Vec::new();
    let (was, is) = (&before.desired, &state.desired);
    changed(
        &mut all,
        Kind::LoadBalancer,
        &was.load_balancers,
        &is.load_balancers,
        |lb| desired::LoadBalancer::from(lb),
    )?;
    changed(
        &mut all,
        Kind::Declared,
        &was.declared,
        &is.declared,
        declared::write,
    )?;
    let (was, is) = (&before.node, &state.node);
    changed(
        &mut all,
        Kind::Placement,
        &was.load_balancers,
        &is.load_balancers,
        |lb| node::Placement::from(lb),
    )?;
    let one = |kind| Key {
        kind,
        name: String::new(),
    };
    if (was.epochs, &was.retired) != (is.epochs, &is.retired) {
        let text = serde_json::to_string(&node::Node::from(is))?;
        all.push((one(Kind::Node), Some(text)));
    }
    if was.vips != is.vips {
        let text = serde_json::to_string(&*is.vips)?;
        all.push((one(Kind::Vips), Some(text)));
    }
    Ok(all)
}

fn changed<K: Ord + Display, V, D: Serialize>(
    all: &mut Vec<(Key, Option<String>)>,
    kind: Kind,
    before: &BTreeMap<K, Arc<V>>,
    after: &BTreeMap<K, Arc<V>>,
    document: impl Fn(&V) -> D,
) -> Result<(), serde_json::Error> {
    let key = |name: &K| Key {
        kind,
        name: name.to_string(),
    };
    // Both are in order: one walk through both, and nothing is searched for.
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((gone, _)), Some((there, _))) => gone.cmp(there),
        };
        let known = if order.is_le() { old.next() } else { None };
        let value = if order.is_ge() { new.next() } else { None };
        match (known, value) {
            (Some((_, known)), Some((_, value))) if Arc::ptr_eq(known, value) => {}
            (_, Some((name, value))) => {
                let text = serde_json::to_string(&document(value))?;
                all.push((key(name), Some(text)));
            }
            (Some((name, _)), None) => all.push((key(name), None)),
            (None, None) => {}
        }
    }
}

/// The state that the documents make.
///
/// # Errors
/// The first document that is not one, and why.
pub fn assemble(documents: impl IntoIterator<Item = (Key, String)>) -> Result<State, Box<Fault>> {
    let mut desired = Desired::default();
    let mut placements = BTreeMap::new();
    let mut shared = (Epochs::default(), BTreeSet::new());
    let mut vips = BTreeMap::<IpAddr, String>::new();
    for (key, text) in documents {
        let mut take = || -> Result<(), BadDocument> {
            match key.kind {
                Kind::LoadBalancer => {
                    let lb = read::<desired::LoadBalancer>(&text)?.try_into()?;
                    let name = LbName::try_from(key.name.clone())?;
                    desired.load_balancers.insert(name, Arc::new(lb));
                }
                Kind::Placement => {
                    let placement = read::<node::Placement>(&text)?.try_into()?;
                    let name = LbName::try_from(key.name.clone())?;
                    placements.insert(name, Arc::new(placement));
                }
                Kind::Declared => {
                    let said = declared::read(read(&text)?)?;
                    desired.declared.insert(key.name.clone(), Arc::new(said));
                }
                Kind::Node => shared = read::<node::Node>(&text)?.into(),
                Kind::Vips => vips = read(&text)?,
            }
            Ok(())
        };
        if let Err(error) = take() {
            return Err(Box::new(Fault { key, error }));
        }
    }
    fit(&desired, &placements)?;
    let (epochs, retired) = shared;
    distinct(&placements, &retired)?;
    let node = Node::new(placements, epochs, retired, vips);
    Ok(State { desired, node })
}

/// Both halves must be of the same load balancers and backends.
fn fit(desired: &Desired, placements: &BTreeMap<LbName, Arc<Placement>>) -> Result<(), Box<Fault>> {
    for (name, lb) in &desired.load_balancers {
        let placement = placements
            .get(name)
            .ok_or_else(|| fault(Kind::LoadBalancer, name, BadDocument::Alone))?;
        if !lb.backends.keys().eq(placement.backends.keys()) {
            return Err(fault(Kind::Placement, name, BadDocument::OtherBackends));
        }
        let mut both = lb.backends.values().zip(placement.backends.values());
        if both.any(|(backend, spot)| backend.asked.registration.is_gone() == spot.index.is_some())
        {
            return Err(fault(Kind::Placement, name, BadDocument::Indices));
        }
    }
    let alone = |name: &&LbName| !desired.load_balancers.contains_key(name.as_str());
    match placements.keys().find(alone) {
        Some(name) => Err(fault(Kind::Placement, name, BadDocument::Alone)),
        None => Ok(()),
    }
}

/// No two load balancers, and no two backends, may have the same index of the
/// kernel's; and nobody has the one that stands for nobody.
fn distinct(
    placements: &BTreeMap<LbName, Arc<Placement>>,
    retired: &BTreeSet<BackendIndex>,
) -> Result<(), Box<Fault>> {
    let mut lbs = BTreeSet::from([NO_BACKEND]);
    let mut backends = retired.clone();
    backends.insert(NO_BACKEND);
    for (name, placement) in placements {
        let spots = placement.backends.values().filter_map(|spot| spot.index);
        let doubled = Some(placement.index)
            .filter(|index| !lbs.insert(*index))
            .or_else(|| spots.into_iter().find(|index| !backends.insert(*index)));
        if let Some(index) = doubled {
            let error = BadDocument::Index { index };
            return Err(fault(Kind::Placement, name, error));
        }
    }
    Ok(())
}

fn fault(kind: Kind, name: &LbName, error: BadDocument) -> Box<Fault> {
    let name = name.to_string();
    let key = Key { kind, name };
    Box::new(Fault { key, error })
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, BadDocument> {
    Ok(serde_json::from_str(text)?)
}

#[cfg(test)]
mod tests;
