//! Health checks: how they are set, and what the last one found.

use serde::{Deserialize, Serialize};

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
#[serde(deny_unknown_fields)]
pub struct SetHealth {
    pub health: HealthByHand,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthByHand {
    Healthy,
    Unhealthy,
    /// Back to what the health check says, or healthy where there is none.
    Auto,
}
