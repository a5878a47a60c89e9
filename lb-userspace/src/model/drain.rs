//! One drain: when it began, when it must end, how it ended. Pure.

use std::time::Duration;

use super::values::DrainTimeout;
use crate::clock::Moment;

/// How a backend is asked to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// In the time that the load balancer's attributes give; at once where
    /// draining is disabled.
    ByAttributes,
    /// In that time, whatever the attributes say.
    Within(DrainTimeout),
    /// What is open is closed.
    Now,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Every flow ended by itself.
    Ended,
    /// The deadline, or `--now`, cut that many.
    Cut { flows: u64 },
    /// Registered again before the end.
    Cancelled,
}

/// The record of a drain, kept after it is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    pub since: Moment,
    /// In seconds; 0 is "at once".
    pub timeout: u32,
    /// Flows that were open when it began; not known before they are counted.
    pub flows_at_start: Option<u64>,
    /// Flows that were closed by force so far.
    pub cut: u64,
    /// Set when the drain is over.
    pub outcome: Option<DrainOutcome>,
}

impl Drain {
    /// A drain that begins now. No timeout: everything is closed at once.
    #[must_use]
    pub fn begin(now: Moment, timeout: Option<DrainTimeout>) -> Self {
        Self {
            since: now,
            timeout: timeout.map_or(0, DrainTimeout::get),
            flows_at_start: None,
            cut: 0,
            outcome: None,
        }
    }

    /// When what is left is closed.
    #[must_use]
    pub fn deadline(&self) -> Moment {
        self.since + Duration::from_secs(u64::from(self.timeout))
    }

    /// Whole seconds until the deadline, rounded up.
    #[must_use]
    pub fn seconds_left(&self, now: Moment) -> u32 {
        let left = self.deadline().since(now).as_millis().div_ceil(1000);
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// Moves the deadline, counted from when the drain began. True if that
    /// changed anything.
    pub fn retime(&mut self, timeout: Option<DrainTimeout>) -> bool {
        let timeout = timeout.map_or(0, DrainTimeout::get);
        let moved = self.timeout != timeout;
        self.timeout = timeout;
        moved
    }

    /// How it ended, now that no flow is left.
    pub fn end(&mut self) {
        self.outcome = Some(if self.cut == 0 {
            DrainOutcome::Ended
        } else {
            DrainOutcome::Cut { flows: self.cut }
        });
    }

    /// The backend was registered again. What was cut before stays cut, and
    /// the record says so.
    pub fn cancel(&mut self) {
        self.outcome = Some(DrainOutcome::Cancelled);
    }
}
