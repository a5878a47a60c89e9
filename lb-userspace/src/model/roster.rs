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

/// Every backend that is to be checked. One that is not in it, is not.
pub type Roster = BTreeMap<Key, Subject>;

/// What a backend's checks add up to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HealthReport {
    Healthy,
    /// With the reason, for people.
    Unhealthy(String),
    /// Nothing is known any more, as before the first check.
    Unknown,
}
