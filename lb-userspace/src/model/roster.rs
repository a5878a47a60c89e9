//! Whom to check, and how: what the control task wants.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use super::{
    health_check::HealthCheck,
    standing::Standing,
    values::{BackendId, LbName},
};

/// A backend, by its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub lb: LbName,
    pub backend: BackendId,
}

/// A backend that is to be checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    pub address: IpAddr,
    pub check: Arc<HealthCheck>,
    /// What the checks so far, of this agent or of the one before it, hold the
    /// backend for.
    pub standing: Standing,
}

/// Every backend that is to be checked. One that is not in it, is not. Cheap to
/// clone: copies share the load balancers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster(BTreeMap<LbName, Arc<BTreeMap<BackendId, Subject>>>);

impl Roster {
    /// From now on these backends of `lb` are to be checked. True if that is
    /// news.
    pub fn set(&mut self, lb: &LbName, subjects: BTreeMap<BackendId, Subject>) -> bool {
        if subjects.is_empty() {
            return self.0.remove(lb).is_some();
        }
        let news = self.0.get(lb).is_none_or(|known| **known != subjects);
        if news {
            self.0.insert(lb.clone(), Arc::new(subjects));
        }
        news
    }

    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&Subject> {
        self.0.get(&key.lb)?.get(&key.backend)
    }

    /// How many backends.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(|subjects| subjects.len()).sum()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How each load balancer's backends are checked, and how many they are. All
    /// backends of one are checked alike.
    pub fn checks(&self) -> impl Iterator<Item = (&LbName, &HealthCheck, usize)> {
        self.0.iter().filter_map(|(lb, subjects)| {
            let (_, first) = subjects.first_key_value()?;
            Some((lb, &*first.check, subjects.len()))
        })
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &Subject)> {
        self.0.iter().flat_map(|(lb, subjects)| {
            subjects.iter().map(move |(backend, subject)| {
                let (lb, backend) = (lb.clone(), backend.clone());
                (Key { lb, backend }, subject)
            })
        })
    }
}

impl FromIterator<(Key, Subject)> for Roster {
    fn from_iter<I: IntoIterator<Item = (Key, Subject)>>(all: I) -> Self {
        let mut roster = Self::default();
        for (Key { lb, backend }, subject) in all {
            let subjects = roster.0.entry(lb).or_default();
            Arc::make_mut(subjects).insert(backend, subject);
        }
        roster
    }
}

/// What a backend's checks add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthReport {
    Healthy,
    /// With the reason, for people.
    Unhealthy(String),
    /// Nothing is known any more, as before the first check.
    Unknown,
}
