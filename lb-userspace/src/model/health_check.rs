//! A health check as it is configured, validated.

use std::{ops::RangeInclusive, time::Duration};

use super::{
    standing::{THRESHOLD, Thresholds},
    target::{BadTarget, Target},
};
use rustls::pki_types::{DnsName, ServerName};

/// Seconds from one check to the next. The Classic ELB's API begins at 5.
pub const INTERVAL: RangeInclusive<u32> = 1..=300;
/// Seconds that a check may take. The Classic ELB's API begins at 2.
pub const TIMEOUT: RangeInclusive<u32> = 1..=60;

/// As many checks as are ever under way at once, of all load balancers. Each has
/// a descriptor.
pub const CHECKS_AT_ONCE: u32 = 4096;

/// What one load balancer gets of them at most: the rest stays for the others,
/// however many of its backends hang.
const SHARE: u32 = CHECKS_AT_ONCE / 2;

/// A health check as somebody asks for it: nothing is checked yet. Times are
/// seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedCheck {
    pub target: String,
    pub interval: u32,
    /// 5, or what fits into the interval, where it is left out.
    pub timeout: Option<u32>,
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
    pub verify_certificate: bool,
    pub server_name: Option<String>,
}

/// What is asked of every backend of a load balancer, and how often.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    target: Target,
    interval: u32,
    timeout: u32,
    thresholds: Thresholds,
    verify_certificate: bool,
    server_name: Option<DnsName<'static>>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCheck {
    #[error(transparent)]
    Target(#[from] BadTarget),
    #[error(
        "the interval of a health check must be {} to {} seconds, not {given}",
        INTERVAL.start(),
        INTERVAL.end()
    )]
    Interval { given: i64 },
    #[error(
        "the timeout of a health check must be {} to {} seconds, not {given}",
        TIMEOUT.start(),
        TIMEOUT.end()
    )]
    Timeout { given: i64 },
    /// The Classic ELB's own words.
    #[error("HealthCheck timeout must be less than interval.")]
    TimeoutNotLess,
    #[error(
        "the {which} of a health check must be {} to {}, not {given}",
        THRESHOLD.start(),
        THRESHOLD.end()
    )]
    Threshold { which: &'static str, given: i64 },
    #[error("{given:?} is not a server name; use a DNS name such as www.example.com")]
    ServerName { given: String },
    #[error("`{key}` is only for SSL and HTTPS; this health check uses {protocol}")]
    NotTls {
        key: &'static str,
        protocol: &'static str,
    },
}

impl HealthCheck {
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// From the beginning of one check to the beginning of the next.
    #[must_use]
    pub fn interval(&self) -> Duration {
        Duration::from_secs(self.interval.into())
    }

    /// What a check may take in all.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout.into())
    }

    /// How many checks of so many backends are under way at once when every one
    /// of them hangs until its timeout.
    #[must_use]
    pub fn under_way_at_worst(&self, backends: usize) -> u64 {
        let busy = u64::from(self.timeout).saturating_mul(backends as u64);
        // A check never overlaps the next one of the same backend.
        busy.div_ceil(self.interval.into()).min(backends as u64)
    }

    /// What to say if checks of so many backends cannot be made in time once all
    /// of them hang.
    #[must_use]
    pub fn warning(&self, backends: usize) -> Option<String> {
        let needed = self.under_way_at_worst(backends);
        (needed > SHARE.into()).then(|| {
            format!(
                "health checks of {backends} backends every {} s that may take {} s each come \
                 late when all of them hang: {needed} would be under way at once, and a load \
                 balancer has room for {SHARE}; a shorter timeout or a longer interval helps",
                self.interval, self.timeout
            )
        })
    }

    #[must_use]
    pub fn thresholds(&self) -> Thresholds {
        self.thresholds
    }

    /// Whether the backend must prove with a certificate who it is.
    #[must_use]
    pub fn verify_certificate(&self) -> bool {
        self.verify_certificate
    }

    /// The name that the backend is asked for; its address where there is none.
    #[must_use]
    pub fn server_name(&self) -> Option<&DnsName<'static>> {
        self.server_name.as_ref()
    }
}

impl TryFrom<AskedCheck> for HealthCheck {
    type Error = BadCheck;

    fn try_from(asked: AskedCheck) -> Result<Self, BadCheck> {
        let target: Target = asked.target.parse()?;
        let interval = asked.interval;
        if !INTERVAL.contains(&interval) {
            return Err(BadCheck::Interval {
                given: interval.into(),
            });
        }
        let timeout = match asked.timeout {
            None => default_timeout(interval),
            Some(timeout) if !TIMEOUT.contains(&timeout) => {
                return Err(BadCheck::Timeout {
                    given: timeout.into(),
                });
            }
            // There is nothing less than one second; checks of one backend
            // never overlap anyway.
            Some(1) => 1,
            Some(timeout) if timeout >= interval => return Err(BadCheck::TimeoutNotLess),
            Some(timeout) => timeout,
        };
        let threshold = |which, given: u32| match u8::try_from(given) {
            Ok(threshold) if THRESHOLD.contains(&threshold) => Ok(threshold),
            _ => Err(BadCheck::Threshold {
                which,
                given: given.into(),
            }),
        };
        let not_tls = |key| BadCheck::NotTls {
            key,
            protocol: target.ask.protocol(),
        };
        if asked.verify_certificate && !target.ask.is_tls() {
            return Err(not_tls("verify_certificate"));
        }
        let server_name = match asked.server_name {
            None => None,
            Some(_) if !target.ask.is_tls() => return Err(not_tls("server_name")),
            // An address parses as a server name, too.
            Some(name) => match ServerName::try_from(name.clone()) {
                Ok(ServerName::DnsName(name)) => Some(name),
                _ => return Err(BadCheck::ServerName { given: name }),
            },
        };
        Ok(Self {
            interval,
            timeout,
            thresholds: Thresholds {
                unhealthy: threshold("unhealthy_threshold", asked.unhealthy_threshold)?,
                healthy: threshold("healthy_threshold", asked.healthy_threshold)?,
            },
            verify_certificate: asked.verify_certificate,
            server_name,
            target,
        })
    }
}

/// The Classic ELB's 5 seconds, or as much as a shorter interval has room for.
fn default_timeout(interval: u32) -> u32 {
    interval.saturating_sub(1).clamp(1, 5)
}

impl From<HealthCheck> for AskedCheck {
    fn from(check: HealthCheck) -> Self {
        Self {
            target: check.target.to_string(),
            interval: check.interval,
            timeout: Some(check.timeout),
            unhealthy_threshold: check.thresholds.unhealthy.into(),
            healthy_threshold: check.thresholds.healthy.into(),
            verify_certificate: check.verify_certificate,
            server_name: check.server_name.map(|name| name.as_ref().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests;
