//! What happened, for whoever listens: `ebb events`, hooks, metrics.

use serde::{Deserialize, Serialize};

use crate::api::types::DrainOutcome;

/// One thing that happened to a load balancer or to a backend of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 1 at the agent's start. A gap means that events were
    /// missed.
    pub number: u64,
    /// RFC 3339, UTC.
    pub time: String,
    /// Who asked for it: `agent`, or the caller as the door described it.
    pub by: String,
    pub load_balancer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backend: Option<String>,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    LoadBalancerCreated,
    /// No listener any more; its backends drain.
    LoadBalancerDeleting,
    LoadBalancerDeleted,
    ListenerAdded {
        listener: String,
    },
    ListenerRemoved {
        listener: String,
    },
    AttributesChanged {
        from: crate::api::types::Attributes,
        to: crate::api::types::Attributes,
    },
    Registered,
    WeightChanged {
        from: u16,
        to: u16,
    },
    /// May take new flows.
    InService,
    /// Takes no new flows; `reason` is the Description that operators see.
    OutOfService {
        reason: String,
    },
    DrainStarted {
        timeout: u32,
        flows: u64,
    },
    /// At most once in five seconds for each drain.
    DrainProgress {
        flows_left: u64,
        seconds_left: u32,
    },
    DrainDeadlineMoved {
        timeout: u32,
    },
    /// The deadline or `--now`: what is left is being closed.
    DrainCutting {
        flows: u64,
    },
    DrainEnded {
        outcome: DrainOutcome,
    },
    /// Draining is disabled and the backend became unhealthy: its flows are
    /// being closed.
    FlowsCut {
        flows: u64,
    },
    Deregistered,
    NextHopKnown {
        interface: String,
        mac: String,
    },
    NextHopLost {
        reason: String,
    },
    BooksDiffer {
        counted: u64,
        found: u64,
    },
}
