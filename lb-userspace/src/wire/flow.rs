//! Open flows.

use serde::{Deserialize, Serialize};

use super::words;
use crate::model::Protocol;

/// The answer of `GET …/{lb}/flows`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    pub flows: Vec<Flow>,
    /// How many there are in all, by the counters; `flows` may be fewer.
    pub total: u64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    #[serde(with = "words::Protocol")]
    pub protocol: Protocol,
    pub client: String,
    pub vip: String,
    pub backend: String,
    pub state: String,
    pub age_seconds: f64,
    pub idle_seconds: f64,
    pub bytes: u64,
}

/// The order of `GET …/{lb}/flows`: the longest, or the most, first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowSort {
    #[default]
    Age,
    Idle,
    Bytes,
}
