//! How a backend leaves.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deregister {
    /// 1 to 3600; the attribute's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u32>,
    #[serde(default)]
    pub now: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    pub started: String,
    pub timeout: u32,
    pub seconds_left: u32,
    pub flows_at_start: u64,
    pub flows_left: u64,
    /// Set when the drain is over.
    pub outcome: Option<DrainOutcome>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DrainOutcome {
    /// Every flow ended by itself.
    Ended,
    /// The deadline, or `--now`, cut that many.
    Cut { flows: u64 },
    /// Registered again before the end.
    Cancelled,
}
