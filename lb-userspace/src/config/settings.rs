//! The settings that the agent runs with, validated.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use super::{elb::ElbApi, hook::Hook};

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
    /// None: no Query API.
    pub elb_api: Option<ElbApi>,
    /// Where Prometheus finds the metrics; none: nowhere.
    pub metrics: Option<SocketAddr>,
    pub hooks: Vec<Hook>,
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
