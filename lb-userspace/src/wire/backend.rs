//! Backends.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{drain::Drain, health::LastCheck};

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

/// The body of `POST …/{lb}/backends` for several: all of them or none. A
/// single [`NewBackend`] is a body, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewBackends {
    pub backends: Vec<NewBackend>,
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
    pub counters: BackendCounters,
}

/// The answer of `GET …/{lb}/backends`, by id: the registered ones and those
/// that still drain or close.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backends {
    pub backends: Vec<Backend>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    InService,
    OutOfService,
    Unknown,
}

/// Where packets to a backend go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    pub interface: String,
    pub mac: String,
}

/// What is counted of a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendCounters {
    /// From clients.
    pub packets_in: u64,
    pub bytes_in: u64,
    /// From the backend; 0 in modes where answers bypass ebb.
    pub packets_out: u64,
    pub bytes_out: u64,
    pub opened: u64,
    pub closed: u64,
    /// Packets forwarded without an entry, for the table of flows was full (dsr, ipip).
    pub untracked: u64,
}
