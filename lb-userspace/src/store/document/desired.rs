//! What was asked of a load balancer, as it is written down.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bad::BadDocument;
use crate::{
    clock::Moment,
    model::{self, AskedCheck, BackendId, ListenerKey, Listeners, checked},
    state::{desired, life},
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    pub mode: Mode,
    /// RFC 3339, UTC.
    pub created: String,
    /// From `tcp 192.0.2.1:80` to the backends' port.
    pub listeners: BTreeMap<String, u16>,
    pub attributes: Attributes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
    pub backends: BTreeMap<String, Backend>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleting: bool,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub elb: Value,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    Nat,
    Dsr,
    Ipip,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    pub draining: bool,
    /// Seconds, as is the next.
    pub drain_timeout: u32,
    pub idle_timeout: u32,
    /// Forced closes per second; 0 is no limit.
    pub close_rate: u32,
    /// Documents before it have none.
    #[serde(default, skip_serializing_if = "NatSource::is_default")]
    pub nat_source: NatSource,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NatSource {
    #[default]
    Ebb,
    Client,
}

impl NatSource {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl From<model::NatSource> for NatSource {
    fn from(source: model::NatSource) -> Self {
        match source {
            model::NatSource::Ebb => Self::Ebb,
            model::NatSource::Client => Self::Client,
        }
    }
}

impl From<NatSource> for model::NatSource {
    fn from(source: NatSource) -> Self {
        match source {
            NatSource::Ebb => Self::Ebb,
            NatSource::Client => Self::Client,
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HealthCheck {
    pub target: String,
    /// Seconds, as is the next.
    pub interval: u32,
    pub timeout: Option<u32>,
    pub unhealthy_threshold: u32,
    pub healthy_threshold: u32,
    pub verify_certificate: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    pub address: IpAddr,
    pub weight: u16,
    pub registration: Registration,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by_hand: Option<Health>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Registration {
    Registered {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancelled: Option<Drain>,
    },
    Draining(Drain),
    Closing(Drain),
    Gone {
        /// As [`Drain::since`].
        since: i64,
        drain: Drain,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drain {
    /// Milliseconds on the clock of the boot that the state was written under.
    pub since: i64,
    /// Seconds.
    pub timeout: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flows_at_start: Option<u64>,
    pub cut: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Outcome {
    Ended,
    Cut { flows: u64 },
    Cancelled,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    Unknown,
    Healthy,
    Unhealthy,
}

impl From<&desired::LoadBalancer> for LoadBalancer {
    fn from(lb: &desired::LoadBalancer) -> Self {
        let backends = lb.backends.iter();
        Self {
            mode: lb.mode.into(),
            created: lb.created.to_string(),
            listeners: write_listeners(&lb.listeners),
            attributes: Attributes {
                draining: lb.attributes.draining,
                drain_timeout: lb.attributes.drain_timeout.get(),
                idle_timeout: lb.attributes.idle_timeout.get(),
                close_rate: lb.attributes.close_rate,
                nat_source: lb.attributes.nat_source.into(),
            },
            health_check: lb.health_check.clone().map(Into::into),
            backends: backends
                .map(|(id, backend)| (id.to_string(), backend.into()))
                .collect(),
            deleting: lb.deleting,
            elb: lb.elb.clone(),
        }
    }
}

impl TryFrom<LoadBalancer> for desired::LoadBalancer {
    type Error = BadDocument;

    fn try_from(lb: LoadBalancer) -> Result<Self, BadDocument> {
        let mut backends = BTreeMap::new();
        for (id, backend) in lb.backends {
            backends.insert(BackendId::try_from(id)?, backend.try_into()?);
        }
        Ok(Self {
            mode: lb.mode.into(),
            created: lb.created.parse()?,
            listeners: read_listeners(lb.listeners)?,
            attributes: model::Attributes {
                draining: lb.attributes.draining,
                drain_timeout: checked(lb.attributes.drain_timeout)?,
                idle_timeout: checked(lb.attributes.idle_timeout)?,
                close_rate: lb.attributes.close_rate,
                nat_source: lb.attributes.nat_source.into(),
            },
            health_check: lb.health_check.map(TryInto::try_into).transpose()?,
            backends,
            deleting: lb.deleting,
            elb: lb.elb,
        })
    }
}

pub(super) fn write_listeners(listeners: &Listeners) -> BTreeMap<String, u16> {
    let text = |(key, port): (&ListenerKey, &u16)| (key.to_string(), *port);
    listeners.iter().map(text).collect()
}

pub(super) fn read_listeners(listeners: BTreeMap<String, u16>) -> Result<Listeners, BadDocument> {
    let key = |(text, port): (String, u16)| Ok((text.parse()?, port));
    listeners.into_iter().map(key).collect()
}

impl From<&desired::Backend> for Backend {
    fn from(backend: &desired::Backend) -> Self {
        Self {
            address: backend.address,
            weight: backend.weight.get(),
            registration: (&backend.asked.registration).into(),
            by_hand: backend.asked.by_hand.map(Into::into),
        }
    }
}

impl TryFrom<Backend> for desired::Backend {
    type Error = BadDocument;

    fn try_from(backend: Backend) -> Result<Self, BadDocument> {
        Ok(Self {
            address: backend.address,
            weight: checked(backend.weight)?,
            asked: life::Asked {
                registration: backend.registration.into(),
                by_hand: backend.by_hand.map(Into::into),
            },
        })
    }
}

impl From<&life::Registration> for Registration {
    fn from(registration: &life::Registration) -> Self {
        use life::Registration as R;
        match registration {
            R::Registered { cancelled } => Self::Registered {
                cancelled: cancelled.as_ref().map(Into::into),
            },
            R::Draining(drain) => Self::Draining(drain.into()),
            R::Closing(drain) => Self::Closing(drain.into()),
            R::Gone { since, drain } => Self::Gone {
                since: since.0,
                drain: drain.into(),
            },
        }
    }
}

impl From<Registration> for life::Registration {
    fn from(registration: Registration) -> Self {
        use Registration as R;
        match registration {
            R::Registered { cancelled } => Self::Registered {
                cancelled: cancelled.map(Into::into),
            },
            R::Draining(drain) => Self::Draining(drain.into()),
            R::Closing(drain) => Self::Closing(drain.into()),
            R::Gone { since, drain } => Self::Gone {
                since: Moment(since),
                drain: drain.into(),
            },
        }
    }
}

impl From<&model::Drain> for Drain {
    fn from(drain: &model::Drain) -> Self {
        Self {
            since: drain.since.0,
            timeout: drain.timeout,
            flows_at_start: drain.flows_at_start,
            cut: drain.cut,
            outcome: drain.outcome.map(|outcome| match outcome {
                model::DrainOutcome::Ended => Outcome::Ended,
                model::DrainOutcome::Cut { flows } => Outcome::Cut { flows },
                model::DrainOutcome::Cancelled => Outcome::Cancelled,
            }),
        }
    }
}

impl From<Drain> for model::Drain {
    fn from(drain: Drain) -> Self {
        Self {
            since: Moment(drain.since),
            timeout: drain.timeout,
            flows_at_start: drain.flows_at_start,
            cut: drain.cut,
            outcome: drain.outcome.map(|outcome| match outcome {
                Outcome::Ended => model::DrainOutcome::Ended,
                Outcome::Cut { flows } => model::DrainOutcome::Cut { flows },
                Outcome::Cancelled => model::DrainOutcome::Cancelled,
            }),
        }
    }
}

impl From<model::HealthCheck> for HealthCheck {
    fn from(check: model::HealthCheck) -> Self {
        let AskedCheck {
            target,
            interval,
            timeout,
            unhealthy_threshold,
            healthy_threshold,
            verify_certificate,
            server_name,
        } = check.into();
        Self {
            target,
            interval,
            timeout,
            unhealthy_threshold,
            healthy_threshold,
            verify_certificate,
            server_name,
        }
    }
}

impl TryFrom<HealthCheck> for model::HealthCheck {
    type Error = BadDocument;

    fn try_from(check: HealthCheck) -> Result<Self, BadDocument> {
        let HealthCheck {
            target,
            interval,
            timeout,
            unhealthy_threshold,
            healthy_threshold,
            verify_certificate,
            server_name,
        } = check;
        let asked = AskedCheck {
            target,
            interval,
            timeout,
            unhealthy_threshold,
            healthy_threshold,
            verify_certificate,
            server_name,
        };
        Ok(asked.try_into()?)
    }
}

macro_rules! same {
    ($here:ident, $there:path: $($variant:ident)+) => {
        impl From<$there> for $here {
            fn from(value: $there) -> Self {
                match value {
                    $(<$there>::$variant => Self::$variant,)+
                }
            }
        }

        impl From<$here> for $there {
            fn from(value: $here) -> Self {
                match value {
                    $($here::$variant => Self::$variant,)+
                }
            }
        }
    };
}

same!(Mode, model::Mode: Nat Dsr Ipip);
same!(Health, life::Health: Unknown Healthy Unhealthy);
