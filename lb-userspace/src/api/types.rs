//! The shapes of the admin API: what the server sends, the CLI prints and the
//! tests read. Times are seconds; dates are RFC 3339 in UTC.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::dataplane::{Mode, NextHop, Protocol};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    pub protocol: Protocol,
    pub address: IpAddr,
    pub port: u16,
    /// The port that backends listen on; the listener's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend_port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackend {
    /// The address, written out, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub address: IpAddr,
    #[serde(default = "one")]
    pub weight: u16,
}

fn one() -> u16 {
    1
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLoadBalancer {
    pub name: String,
    pub mode: Mode,
    pub listeners: Vec<Listener>,
    #[serde(default)]
    pub backends: Vec<NewBackend>,
    #[serde(default)]
    pub attributes: AttributesPatch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionDraining {
    pub enabled: bool,
    /// 1 to 3600.
    pub timeout: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    pub connection_draining: ConnectionDraining,
    /// 1 to 4000.
    pub idle_timeout: u32,
    /// Forced closes per second; 0 is no limit.
    pub close_rate: u32,
}

/// What is left out stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttributesPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_draining: Option<ConnectionDrainingPatch>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_rate: Option<u32>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionDrainingPatch {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub name: String,
    pub mode: Mode,
    pub listeners: Vec<Listener>,
    pub attributes: Attributes,
    pub backends: Vec<Backend>,
    pub created: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    InService,
    OutOfService,
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    pub id: String,
    pub address: IpAddr,
    pub weight: u16,
    /// The Classic ELB's three: `InService`, `N/A`, `N/A` and so on.
    pub state: State,
    pub reason_code: String,
    pub description: String,
    /// `registered`, `draining`, `closing` or `gone`.
    pub registration: String,
    /// `unknown`, `healthy` or `unhealthy`.
    pub health: String,
    /// True when `healthy`/`unhealthy` was set by hand.
    pub health_by_hand: bool,
    /// May take new flows right now: in service and the way to it is known.
    pub takes_new: bool,
    pub flows: u64,
    /// The way there, or why there is none.
    pub next_hop: Option<NextHop>,
    pub next_hop_error: Option<String>,
    pub drain: Option<Drain>,
    pub counters: crate::dataplane::BackendCounters,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub started: String,
    pub timeout: u32,
    pub seconds_left: u32,
    pub flows_at_start: u64,
    pub flows_left: u64,
    /// Set when the drain is over.
    pub outcome: Option<DrainOutcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DrainOutcome {
    /// Every flow ended by itself.
    Ended,
    /// The deadline, or `--now`, cut that many.
    Cut { flows: u64 },
    /// Registered again before the end.
    Cancelled,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deregister {
    /// 1 to 3600; the attribute's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    #[serde(default)]
    pub now: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthByHand {
    Healthy,
    Unhealthy,
    /// Back to what the health check says, or healthy where there is none.
    Auto,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetHealth {
    pub health: HealthByHand,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    pub protocol: Protocol,
    pub client: String,
    pub vip: String,
    pub backend: String,
    pub state: String,
    pub age_seconds: f64,
    pub idle_seconds: f64,
    pub bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    pub error: ErrorBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// For programs: `no_such_load_balancer`, `bad_timeout`, …
    pub code: String,
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
