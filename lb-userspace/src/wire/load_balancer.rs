//! Load balancers, whole.

use serde::{Deserialize, Serialize};

use super::{
    attributes::{Attributes, AttributesPatch},
    backend::{Backend, NewBackend},
    health::HealthCheck,
    listener::Listener,
    words,
};
use crate::model::Mode;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLoadBalancer {
    pub name: String,
    #[serde(with = "words::Mode")]
    pub mode: Mode,
    pub listeners: Vec<Listener>,
    #[serde(default)]
    pub backends: Vec<NewBackend>,
    #[serde(default)]
    pub attributes: AttributesPatch,
    /// Without one, every registered backend counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// See [`LoadBalancer::elb`].
    #[serde(skip)]
    pub elb: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub name: String,
    #[serde(with = "words::Mode")]
    pub mode: Mode,
    pub listeners: Vec<Listener>,
    pub attributes: Attributes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    pub backends: Vec<Backend>,
    pub created: String,
    /// Deleted, and gone when its last backend is.
    #[serde(default)]
    pub deleting: bool,
    /// What the ELB API remembers of it: tags, labels and the like.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub elb: serde_json::Value,
}

/// The answer of `GET /v1/load-balancers`, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancers {
    pub load_balancers: Vec<LoadBalancer>,
}

/// The answer of `DELETE …/{lb}?timeout=N&now=true`: what goes with it. Its
/// backends are deregistered, so their open flows drain as always.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    pub name: String,
    /// Ids of the backends that were deregistered.
    pub backends: Vec<String>,
    /// Flows that were open at that moment.
    pub flows: u64,
    /// False while backends drain or close; listeners are gone at once.
    pub gone: bool,
}
