//! What people and the API asked for. Nothing in it depends on the host that
//! carries it out, but for the clock that its drains are measured with.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde_json::Value;

use super::life::Asked;
use crate::{
    clock::{Moment, Wall},
    model::{Attributes, BackendId, Declaration, HealthCheck, LbName, Listeners, Mode, Weight},
};

/// A copy shares every load balancer that is not changed in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    pub load_balancers: BTreeMap<LbName, Arc<LoadBalancer>>,
    /// What each source (the configuration file, a file that was applied) said
    /// when it was last put in force. What operators did since then stays until
    /// the source says something else.
    pub declared: BTreeMap<String, Arc<Declaration>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadBalancer {
    pub mode: Mode,
    pub created: Wall,
    pub listeners: Listeners,
    pub attributes: Attributes,
    /// Without one, registered backends count as healthy.
    pub health_check: Option<HealthCheck>,
    pub backends: BTreeMap<BackendId, Backend>,
    /// Deleted; gone when its last backend is.
    pub deleting: bool,
    /// What the ELB API remembers of it; nobody else reads it.
    pub elb: Value,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    pub address: IpAddr,
    pub weight: Weight,
    pub asked: Asked,
}

impl Desired {
    /// Moves everything that was measured on another boot's clock onto this
    /// one's.
    pub fn rebase(&mut self, shift: impl Fn(Moment) -> Moment) {
        for lb in self.load_balancers.values_mut() {
            for backend in Arc::make_mut(lb).backends.values_mut() {
                backend.asked.registration.rebase(&shift);
            }
        }
    }
}
