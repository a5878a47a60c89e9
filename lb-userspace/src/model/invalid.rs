//! What can be wrong with a value, wherever it came from: the file or the API.

use std::net::IpAddr;

use super::{health_check::BadCheck, nat_source::NatSource};

/// The seconds that a drain may take.
pub const DRAIN_TIMEOUT: std::ops::RangeInclusive<u32> = 1..=3600;
/// The seconds that an established flow may be silent for.
pub const IDLE_TIMEOUT: std::ops::RangeInclusive<u32> = 1..=4000;
/// Forced closes per second; 0 is no limit.
pub const CLOSE_RATE: std::ops::RangeInclusive<u32> = 0..=u32::MAX;
/// The shares that a backend may have.
pub const WEIGHT: std::ops::RangeInclusive<u16> = 1..=1000;
/// The longest name of a load balancer, as of the Classic ELB.
pub const NAME_MAX: usize = 32;
/// The longest id of a backend.
pub const ID_MAX: usize = 64;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error(
        "{name:?} is not a name for a load balancer: 1 to {NAME_MAX} letters, digits and hyphens, no hyphen first or last"
    )]
    Name { name: String },
    #[error("{id:?} is not an id for a backend: 1 to {ID_MAX} of A-Z a-z 0-9 . _ : @ = -")]
    Id { id: String },
    #[error(transparent)]
    HealthCheck(#[from] BadCheck),
    #[error("port 0 is not a port: {what} takes 1 to 65535")]
    PortZero { what: &'static str },
    #[error("the timeout of a drain must be {} to {} seconds, not {given}", DRAIN_TIMEOUT.start(), DRAIN_TIMEOUT.end())]
    DrainTimeout { given: i64 },
    #[error("the idle timeout must be {} to {} seconds, not {given}", IDLE_TIMEOUT.start(), IDLE_TIMEOUT.end())]
    IdleTimeout { given: i64 },
    #[error("nat_source must be {}, not {given:?}", NatSource::NAMES.join(" or "))]
    NatSource { given: String },
    #[error("a weight must be {} to {}, not {given}", WEIGHT.start(), WEIGHT.end())]
    Weight { given: i64 },
    #[error("{address} cannot be {what}: it is {why}")]
    Address {
        address: IpAddr,
        what: &'static str,
        why: &'static str,
    },
    #[error("load balancer {lb:?} has no listener")]
    NoListener { lb: String },
    #[error("listener {listener} is named twice in load balancer {lb:?}")]
    ListenerTwice { lb: String, listener: String },
    #[error("listener {listener} of load balancer {lb:?} belongs to load balancer {other:?}")]
    ListenerTaken {
        lb: String,
        listener: String,
        other: String,
    },
    #[error("backend id {id:?} is named twice in load balancer {lb:?}")]
    BackendTwice { lb: String, id: String },
    #[error(
        "backends {id:?} and {other:?} of load balancer {lb:?} have the same address, {address}"
    )]
    AddressTwice {
        lb: String,
        id: String,
        other: String,
        address: IpAddr,
    },
    #[error("backend address {address} is the address of a listener of load balancer {lb:?}")]
    BackendIsVip { address: IpAddr, lb: String },
    #[error("listener address {address} is the address of a backend of load balancer {lb:?}")]
    VipIsBackend { address: IpAddr, lb: String },
    #[error(
        "{address} is {family} and load balancer {lb:?} is {other}: in mode {mode} listeners and backends are of one address family"
    )]
    MixedFamilies {
        lb: String,
        address: IpAddr,
        family: &'static str,
        other: &'static str,
        mode: &'static str,
    },
    #[error(
        "listener {listener} has backend port {backend_port}: in mode {mode} the port is not translated"
    )]
    PortTranslated {
        listener: String,
        backend_port: u16,
        mode: &'static str,
    },
    #[error("a timeout and `now` contradict each other")]
    NowAndTimeout,
    #[error("{name:?} is declared twice")]
    LoadBalancerTwice { name: String },
}

impl Invalid {
    /// The load balancer that it is about, if it is about one.
    #[must_use]
    pub fn load_balancer(&self) -> Option<&str> {
        match self {
            Self::NoListener { lb }
            | Self::ListenerTwice { lb, .. }
            | Self::ListenerTaken { lb, .. }
            | Self::BackendTwice { lb, .. }
            | Self::AddressTwice { lb, .. }
            | Self::BackendIsVip { lb, .. }
            | Self::VipIsBackend { lb, .. }
            | Self::MixedFamilies { lb, .. } => Some(lb),
            _ => None,
        }
    }

    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } => "bad_name",
            Self::Id { .. } => "bad_id",
            Self::HealthCheck(_) => "bad_health_check",
            Self::PortZero { .. } => "bad_port",
            Self::DrainTimeout { .. } => "bad_timeout",
            Self::IdleTimeout { .. } => "bad_idle_timeout",
            Self::NatSource { .. } => "bad_nat_source",
            Self::Weight { .. } => "bad_weight",
            Self::Address { .. } => "bad_address",
            Self::NoListener { .. } => "no_listener",
            Self::ListenerTwice { .. } | Self::ListenerTaken { .. } => "duplicate_listener",
            Self::BackendTwice { .. } | Self::AddressTwice { .. } => "duplicate_backend",
            Self::BackendIsVip { .. } | Self::VipIsBackend { .. } => "backend_is_vip",
            Self::MixedFamilies { .. } => "mixed_families",
            Self::PortTranslated { .. } => "port_translated",
            Self::NowAndTimeout => "now_and_timeout",
            Self::LoadBalancerTwice { .. } => "duplicate_load_balancer",
        }
    }

    /// What to do about it, where the message does not say it yet.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Weight { given: 0 } => {
                Some("to send a backend no new flows, deregister it".to_owned())
            }
            Self::PortTranslated { .. } => {
                Some("leave `backend_port` out, or use mode `nat`".to_owned())
            }
            Self::MixedFamilies { .. } => {
                Some("declare one load balancer for each address family".to_owned())
            }
            _ => None,
        }
    }
}
