//! What happened, for whoever listens: `ebb events`, hooks, metrics.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{attributes::Attributes, drain::DrainOutcome, health::HealthCheck};

/// The answer of `GET /v1/events`: the latest ones, the oldest first. With
/// `follow=true` it is a stream of server-sent events instead, one [`Event`]
/// each, which begins with those after `after` that are still kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Events {
    pub events: Vec<Event>,
}

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
    /// Somebody took a VIP from this host; ebb puts it back.
    VipMissing {
        address: String,
    },
    /// Another host has the VIP as well. ebb does not announce it as long as that is so.
    VipContested {
        address: String,
        mac: String,
    },
    /// It is there again; on this interface, if ebb put it there.
    VipPutBack {
        address: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interface: Option<String>,
    },
}

impl What {
    /// As in JSON, and as hooks ask for it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::LoadBalancerCreated => "load_balancer_created",
            Self::LoadBalancerDeleting => "load_balancer_deleting",
            Self::LoadBalancerDeleted => "load_balancer_deleted",
            Self::ListenerAdded { .. } => "listener_added",
            Self::ListenerRemoved { .. } => "listener_removed",
            Self::ElbRecordChanged { .. } => "elb_record_changed",
            Self::AttributesChanged { .. } => "attributes_changed",
            Self::HealthCheckChanged { .. } => "health_check_changed",
            Self::CheckPassed => "check_passed",
            Self::CheckFailed { .. } => "check_failed",
            Self::Registered => "registered",
            Self::WeightChanged { .. } => "weight_changed",
            Self::InService => "in_service",
            Self::OutOfService { .. } => "out_of_service",
            Self::DrainStarted { .. } => "drain_started",
            Self::DrainProgress { .. } => "drain_progress",
            Self::DrainDeadlineMoved { .. } => "drain_deadline_moved",
            Self::DrainCutting { .. } => "drain_cutting",
            Self::DrainEnded { .. } => "drain_ended",
            Self::FlowsCut { .. } => "flows_cut",
            Self::Deregistered => "deregistered",
            Self::NextHopKnown { .. } => "next_hop_known",
            Self::NextHopLost { .. } => "next_hop_lost",
            Self::BooksDiffer { .. } => "books_differ",
            Self::VipMissing { .. } => "vip_missing",
            Self::VipContested { .. } => "vip_contested",
            Self::VipPutBack { .. } => "vip_put_back",
        }
    }
}

/// Every name that an event can have.
pub const NAMES: &[&str] = &[
    "load_balancer_created",
    "load_balancer_deleting",
    "load_balancer_deleted",
    "listener_added",
    "listener_removed",
    "elb_record_changed",
    "attributes_changed",
    "health_check_changed",
    "check_passed",
    "check_failed",
    "registered",
    "weight_changed",
    "in_service",
    "out_of_service",
    "drain_started",
    "drain_progress",
    "drain_deadline_moved",
    "drain_cutting",
    "drain_ended",
    "flows_cut",
    "deregistered",
    "next_hop_known",
    "next_hop_lost",
    "books_differ",
    "vip_missing",
    "vip_contested",
    "vip_put_back",
];

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
                write!(f, "drain started, {}, at most {timeout} s", Flows(*flows))
            }
            Self::DrainProgress {
                flows_left,
                seconds_left,
            } => write!(
                f,
                "draining, {} and {seconds_left} s left",
                Flows(*flows_left)
            ),
            Self::DrainDeadlineMoved { timeout } => {
                write!(f, "drain takes at most {timeout} s from its start")
            }
            Self::DrainCutting { flows } => write!(f, "drain is over, cutting {}", Flows(*flows)),
            Self::DrainEnded { outcome } => match outcome {
                DrainOutcome::Ended => write!(f, "drain ended, every flow by itself"),
                DrainOutcome::Cut { flows } => write!(f, "drain ended, {} cut", Flows(*flows)),
                DrainOutcome::Cancelled => write!(f, "drain cancelled, registered again"),
            },
            Self::FlowsCut { flows } => write!(f, "{} cut", Flows(*flows)),
            Self::Deregistered => write!(f, "deregistered"),
            Self::NextHopKnown { interface, mac } => write!(f, "reached by {interface}, {mac}"),
            Self::NextHopLost { reason } => write!(f, "not reachable: {reason}"),
            Self::VipMissing { address } => {
                write!(f, "VIP {address} was taken from this host")
            }
            Self::VipContested { address, mac } => {
                write!(
                    f,
                    "VIP {address} is also on the host with the MAC address {mac}"
                )
            }
            Self::VipPutBack { address, interface } => match interface {
                Some(interface) => write!(f, "VIP {address} is on {interface} again"),
                None => write!(f, "VIP {address} is on this host again"),
            },
            Self::BooksDiffer { counted, found } => {
                write!(
                    f,
                    "the books differ: {counted} flows counted, {found} found"
                )
            }
        }
    }
}

/// How many flows, in words.
struct Flows(u64);

impl fmt::Display for Flows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 flow"),
            flows => write!(f, "{flows} flows"),
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
            nat_source,
        } = self.0;
        let switch = if draining.enabled { "on" } else { "off" };
        write!(
            f,
            "draining {switch} {} s, idle {idle_timeout} s, close rate {close_rate}/s, nat source \
             {nat_source}",
            draining.timeout
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_the_same_name_in_json_and_for_hooks() {
        // What serde says of a name that there is not lists those that there
        // are.
        let error = serde_json::from_str::<What>(r#"{"event":"x"}"#).unwrap_err();
        let known = NAMES.iter().map(|name| format!("`{name}`"));
        let listed: Vec<_> = known.collect();
        let error = error.to_string();
        for name in &listed {
            assert!(error.contains(name.as_str()), "{name}: {error}");
        }
        assert_eq!(
            error.matches('`').count(),
            2 * (listed.len() + 1),
            "{error}"
        );
        let what = What::DrainStarted {
            timeout: 1,
            flows: 2,
        };
        let json = serde_json::to_value(&what).unwrap();
        assert_eq!(json["event"], what.name());
    }
}
