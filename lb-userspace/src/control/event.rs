//! What happened, for whoever listens: `ebb events`, hooks, metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::api::types::{Attributes, DrainOutcome, HealthCheck};

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
    /// Tags, labels and the like, which only the ELB API knows; by their keys.
    ElbRecordChanged {
        changed: Vec<String>,
    },
    AttributesChanged {
        from: Attributes,
        to: Attributes,
    },
    HealthCheckChanged {
        from: Option<HealthCheck>,
        to: Option<HealthCheck>,
    },
    /// The health checks passed often enough.
    CheckPassed,
    /// They failed often enough; the last one with this result.
    CheckFailed {
        reason: String,
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

/// One line for people: `web/web-1: drain started, 12 flows, at most 300 s`.
impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.load_balancer)?;
        if let Some(backend) = &self.backend {
            write!(f, "/{backend}")?;
        }
        write!(f, ": {}", self.what)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LoadBalancerCreated => write!(f, "created"),
            Self::LoadBalancerDeleting => write!(f, "being deleted"),
            Self::LoadBalancerDeleted => write!(f, "deleted"),
            Self::ListenerAdded { listener } => write!(f, "listener {listener} added"),
            Self::ListenerRemoved { listener } => write!(f, "listener {listener} removed"),
            Self::AttributesChanged { from, to } => {
                write!(
                    f,
                    "attributes changed from {} to {}",
                    Short(from),
                    Short(to)
                )
            }
            Self::ElbRecordChanged { changed } => {
                write!(f, "changed for the ELB API: {}", changed.join(", "))
            }
            Self::HealthCheckChanged { to: None, .. } => write!(f, "health check removed"),
            Self::HealthCheckChanged {
                to: Some(check), ..
            } => write!(
                f,
                "health check is {} every {} s",
                check.target, check.interval
            ),
            Self::CheckPassed => write!(f, "health check passed"),
            Self::CheckFailed { reason } => write!(f, "health check failed: {reason}"),
            Self::Registered => write!(f, "registered"),
            Self::WeightChanged { from, to } => write!(f, "weight changed from {from} to {to}"),
            Self::InService => write!(f, "in service"),
            Self::OutOfService { reason } => write!(f, "out of service: {reason}"),
            Self::DrainStarted { timeout, flows } => {
                write!(f, "drain started, {flows} flows, at most {timeout} s")
            }
            Self::DrainProgress {
                flows_left,
                seconds_left,
            } => write!(f, "draining, {flows_left} flows and {seconds_left} s left"),
            Self::DrainDeadlineMoved { timeout } => {
                write!(f, "drain takes at most {timeout} s from its start")
            }
            Self::DrainCutting { flows } => write!(f, "drain is over, cutting {flows} flows"),
            Self::DrainEnded { outcome } => match outcome {
                DrainOutcome::Ended => write!(f, "drain ended, every flow by itself"),
                DrainOutcome::Cut { flows } => write!(f, "drain ended, {flows} flows cut"),
                DrainOutcome::Cancelled => write!(f, "drain cancelled, registered again"),
            },
            Self::FlowsCut { flows } => write!(f, "{flows} flows cut"),
            Self::Deregistered => write!(f, "deregistered"),
            Self::NextHopKnown { interface, mac } => write!(f, "reached by {interface}, {mac}"),
            Self::NextHopLost { reason } => write!(f, "not reachable: {reason}"),
            Self::BooksDiffer { counted, found } => {
                write!(
                    f,
                    "the books differ: {counted} flows counted, {found} found"
                )
            }
        }
    }
}

/// Attributes on one line.
struct Short<'a>(&'a Attributes);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attributes {
            connection_draining: draining,
            idle_timeout,
            close_rate,
        } = self.0;
        let switch = if draining.enabled { "on" } else { "off" };
        write!(
            f,
            "draining {switch} {} s, idle {idle_timeout} s, close rate {close_rate}/s",
            draining.timeout
        )
    }
}
