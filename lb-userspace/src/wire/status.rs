//! How the agent and its host are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Where the most ports of nat are in use, the fullest first.
    #[serde(default)]
    pub nat_ports: Vec<NatPorts>,
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

/// How many of the ports from an address of ebb's to a backend's port are in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NatPorts {
    /// An IP address.
    pub source: String,
    /// An address and a port.
    pub target: String,
    /// `tcp` or `udp`.
    pub protocol: String,
    pub used: u64,
    pub limit: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceStatus {
    pub name: String,
    /// How XDP runs on it: `driver` or `off`.
    pub xdp: String,
    /// Where its packets are taken: `xdp` or `tc`.
    pub hook: String,
}

/// Every backend is counted once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendTally {
    pub in_service: u64,
    pub out_of_service: u64,
    pub draining: u64,
}
