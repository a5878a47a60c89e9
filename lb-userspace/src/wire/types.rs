//! The shapes of the admin API: what the server sends, the CLI prints and the
//! tests read. Times are seconds; dates are RFC 3339 in UTC.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::{
    model::{Mode, NextHop, Protocol},
    wire::Event,
};

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
    /// Without one, every registered backend counts as healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    /// See [`LoadBalancer::elb`].
    #[serde(skip)]
    pub elb: serde_json::Value,
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

/// What is asked of every backend, and how often. Times are seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    /// `TCP:port`, `SSL:port`, `HTTP:port/path` or `HTTPS:port/path`.
    pub target: String,
    /// 1 to 300.
    #[serde(default = "HealthCheck::interval")]
    pub interval: u32,
    /// 1 to 60, and less than the interval; 5, or what fits, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    /// Failures in a row that take a backend out of service; 2 to 10.
    #[serde(default = "HealthCheck::unhealthy_threshold")]
    pub unhealthy_threshold: u32,
    /// Passes in a row that bring it back; 2 to 10.
    #[serde(default = "HealthCheck::healthy_threshold")]
    pub healthy_threshold: u32,
    /// Whether certificates must be good by the host's authorities.
    #[serde(default)]
    pub verify_certificate: bool,
    /// The name to ask for, and that a certificate must be for; the backend's
    /// address when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl HealthCheck {
    /// A check with the Classic ELB's numbers.
    #[must_use]
    pub fn new(target: String) -> Self {
        Self {
            target,
            interval: Self::interval(),
            timeout: None,
            unhealthy_threshold: Self::unhealthy_threshold(),
            healthy_threshold: Self::healthy_threshold(),
            verify_certificate: false,
            server_name: None,
        }
    }

    fn interval() -> u32 {
        30
    }

    fn unhealthy_threshold() -> u32 {
        2
    }

    fn healthy_threshold() -> u32 {
        10
    }
}

/// The answer of `GET …/{lb}/health-check`, and the body of `PUT`. Null: none
/// is made, and registered backends count as healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheckSetting {
    pub health_check: Option<HealthCheck>,
}

/// The last health check of a backend.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastCheck {
    /// When it ended.
    pub time: String,
    pub took_us: u64,
    /// Why it failed; nothing when it passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancer {
    pub name: String,
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
    /// The last health check; none before the first, or when none is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_check: Option<LastCheck>,
    /// May take new flows right now: in service and the way to it is known.
    pub takes_new: bool,
    pub flows: u64,
    /// The way there, or why there is none.
    pub next_hop: Option<NextHop>,
    pub next_hop_error: Option<String>,
    pub drain: Option<Drain>,
    pub counters: crate::model::BackendCounters,
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

/// The answer of `GET /v1/load-balancers`, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadBalancers {
    pub load_balancers: Vec<LoadBalancer>,
}

/// The body of `POST …/{lb}/backends` for several: all of them or none. A
/// single [`NewBackend`] is a body, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackends {
    pub backends: Vec<NewBackend>,
}

/// The answer of `GET …/{lb}/backends`, by id: the registered ones and those
/// that still drain or close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    pub backends: Vec<Backend>,
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

/// The order of `GET …/{lb}/flows`: the longest, or the most, first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowSort {
    #[default]
    Age,
    Idle,
    Bytes,
}

/// The answer of `GET …/{lb}/flows`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    pub flows: Vec<Flow>,
    /// How many there are in all, by the counters; `flows` may be fewer.
    pub total: u64,
}

/// The answer of `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub version: String,
    pub pid: u32,
    pub started: String,
    pub uptime_seconds: u64,
    pub interfaces: Vec<InterfaceStatus>,
    /// How much there is room for.
    #[serde(default)]
    pub tables: Vec<Table>,
    pub load_balancers: u64,
    pub backends: BackendTally,
    /// Open flows of all load balancers.
    pub flows: u64,
    /// Packets by verdict (P9).
    pub verdicts: BTreeMap<String, u64>,
    /// What an operator should know and has not mended yet.
    pub warnings: Vec<String>,
}

/// How much of a table is taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// `load_balancers`, `backends`, `listeners`, as in `[tables]`; and
    /// `flows_ipv4`, `flows_ipv6`: the entries of established flows.
    pub name: String,
    pub used: u64,
    pub limit: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    pub name: String,
    /// `driver` or `generic`.
    pub xdp: String,
}

/// Every backend is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTally {
    pub in_service: u64,
    pub out_of_service: u64,
    pub draining: u64,
}

/// The answer of `GET /v1/events`: the latest ones, the oldest first. With
/// `follow=true` it is a stream of server-sent events instead, one [`Event`]
/// each, which begins with those after `after` that are still kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
}

/// The body of `POST /v1/apply`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Apply {
    /// A configuration file, TOML, whole.
    pub document: String,
    /// The file's path, in errors and to know what it named the last time.
    #[serde(default)]
    pub source: Option<String>,
    #[serde(default)]
    pub dry_run: bool,
}

/// The answer of `POST /v1/apply`: the plan, in the order of its steps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// True when nothing was changed, only planned.
    pub dry_run: bool,
    /// None when everything already is as the file says.
    pub steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub action: StepAction,
    pub load_balancer: String,
    /// What of it: `backend web-1`, `listener tcp 10.0.0.100:80`, an
    /// attribute's key. The load balancer itself when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// From what to what: `weight 1 → 5`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepAction {
    Add,
    Change,
    /// No new flows; removed when the last one has ended or at the deadline.
    Drain,
    Remove,
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
