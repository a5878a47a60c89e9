//! The attributes of a load balancer: in force, and as asked for.

use super::{
    nat_source::NatSource,
    values::{DrainTimeout, IdleTimeout},
};

/// What is left out is not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AttributesSpec {
    pub draining: Option<bool>,
    pub drain_timeout: Option<DrainTimeout>,
    pub idle_timeout: Option<IdleTimeout>,
    pub close_rate: Option<u32>,
    pub nat_source: Option<NatSource>,
}

/// The attributes in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub draining: bool,
    pub drain_timeout: DrainTimeout,
    pub idle_timeout: IdleTimeout,
    /// Forced closes per second; 0 is no limit.
    pub close_rate: u32,
    pub nat_source: NatSource,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            draining: true,
            drain_timeout: DrainTimeout::DEFAULT,
            idle_timeout: IdleTimeout::DEFAULT,
            close_rate: 0,
            nat_source: NatSource::Ebb,
        }
    }
}

impl Attributes {
    /// With what `spec` asks for, the rest as it is.
    #[must_use]
    pub fn with(self, spec: AttributesSpec) -> Self {
        Self {
            draining: spec.draining.unwrap_or(self.draining),
            drain_timeout: spec.drain_timeout.unwrap_or(self.drain_timeout),
            idle_timeout: spec.idle_timeout.unwrap_or(self.idle_timeout),
            close_rate: spec.close_rate.unwrap_or(self.close_rate),
            nat_source: spec.nat_source.unwrap_or(self.nat_source),
        }
    }

    /// How long a drain that begins now may take; `None`: draining is off.
    #[must_use]
    pub fn drain(&self) -> Option<DrainTimeout> {
        self.draining.then_some(self.drain_timeout)
    }
}
