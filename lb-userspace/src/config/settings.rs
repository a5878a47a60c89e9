//! The settings that the agent runs with, validated.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{elb::ElbApi, entrance::Entrance, hook::Hook};

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
    pub xdp_mode: XdpMode,
    /// Have the kernel program log what should not have happened.
    pub kernel_log: bool,
    pub tables: Tables,
    pub nat: Nat,
    pub ipip: Ipip,
    pub udp: Udp,
    /// None: no Query API.
    pub elb_api: Option<ElbApi>,
    /// Where Prometheus finds the metrics; none: nowhere.
    pub metrics: Option<SocketAddr>,
    pub hooks: Vec<Hook>,
    /// None: no console.
    pub console: Option<Entrance>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum XdpMode {
    /// In the driver where it can, else generic, with a warning.
    #[default]
    Auto,
    Driver,
    Generic,
}

/// How much the kernel's tables hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tables {
    /// Established entries per address family; a nat flow has two.
    pub flows: u32,
    /// Half-open entries per address family.
    pub half_open: u32,
    /// Slots of a Maglev table; a prime.
    pub maglev: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            flows: 262_144,
            half_open: 65_536,
            maglev: 65_537,
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nat {
    /// Source addresses towards backends; none: the address of the interface
    /// that leads there.
    pub pool: Vec<IpAddr>,
    /// The first and the last source port; none: the widest range outside the
    /// host's own.
    pub ports: Option<(u16, u16)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ipip {
    /// Where tunnels come from, at most one prefix per address family; none: the
    /// address of the interface that leads to the backend.
    pub sources: Vec<TunnelPrefix>,
}

/// A prefix whose host bits vary with the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TunnelPrefix {
    /// With its host bits zero.
    pub address: IpAddr,
    /// How many low bits vary, at most 32.
    pub bits: u8,
}

/// What a UDP flow may be silent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Udp {
    /// Before the first answer.
    pub unreplied: Duration,
    /// After it.
    pub replied: Duration,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            unreplied: Duration::from_secs(30),
            replied: Duration::from_secs(180),
        }
    }
}
