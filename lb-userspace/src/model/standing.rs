//! What health checks hold a backend for, and how many it takes to change that.

use std::ops::RangeInclusive;

/// How many checks in a row it may take to change a backend's health.
pub const THRESHOLD: RangeInclusive<u8> = 2..=10;

/// How many results in a row it takes to change what a backend is held for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// Failures, from healthy (or new) to unhealthy.
    pub unhealthy: u8,
    /// Passes, from unhealthy to healthy.
    pub healthy: u8,
}

/// What the checks hold a backend for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// Not decided yet: the first pass puts it into service.
    #[default]
    New,
    Healthy,
    Unhealthy,
}
