//! The settings that the agent runs with, validated.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::{elb::ElbApi, entrance::Entrance, hook::Hook};
use crate::model::{Arrivals, Dscp, HookChoice, TableSizes, TunnelSource, UdpSettings};

/// How the agent itself runs. Changes need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where clients and backends are reached; ebb attaches to these.
    pub interfaces: Vec<String>,
    /// Put VIPs on an interface and take them away with the load balancer.
    pub manage_vips: bool,
    pub socket: PathBuf,
    pub state_dir: PathBuf,
    pub bpffs_dir: PathBuf,
    pub hook: HookChoice,
    /// Other ones, for interfaces by their names.
    pub interface_hooks: BTreeMap<String, HookChoice>,
    /// Serve clients on this host itself.
    pub local_clients: bool,
    /// Have the kernel program log what should not have happened.
    pub kernel_log: bool,
    pub tables: TableSizes,
    pub nat: Nat,
    pub ipip: Ipip,
    pub udp: UdpSettings,
    pub arrivals: Arrivals,
    /// None: no Query API.
    pub elb_api: Option<ElbApi>,
    /// Where Prometheus finds the metrics; none: nowhere.
    pub metrics: Option<SocketAddr>,
    pub hooks: Vec<Hook>,
    /// None: no console.
    pub console: Option<Entrance>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nat {
    /// Source addresses towards backends; none: the address of the interface
    /// that leads there.
    pub pool: Vec<IpAddr>,
    /// Other ones for load balancers, by their names.
    pub pools: BTreeMap<String, Vec<IpAddr>>,
    /// The first and the last source port; none: the widest range outside the
    /// host's own.
    pub ports: Option<(u16, u16)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ipip {
    /// Where tunnels come from, at most one prefix per address family; none: the
    /// address of the interface that leads to the backend.
    pub sources: Vec<TunnelSource>,
    pub dscp: Dscp,
}
