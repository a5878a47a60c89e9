//! From a document as it came to what it means, and back: checked once, here.

use std::collections::BTreeMap;

use super::{attributes, backend, drain, health, listener, load_balancer};
use crate::model::{
    AskedCheck, Attributes, AttributesSpec, BackendCounters, BackendId, BackendSpec, BadCheck,
    DrainOutcome, HealthCheck, Invalid, LbName, LbSpec, ListenerKey, Listeners, Mode, NatSource,
    NextHop, checked, unicast,
};

impl From<Attributes> for attributes::Attributes {
    fn from(attributes: Attributes) -> Self {
        Self {
            connection_draining: attributes::ConnectionDraining {
                enabled: attributes.draining,
                timeout: attributes.drain_timeout.get(),
            },
            idle_timeout: attributes.idle_timeout.get(),
            close_rate: attributes.close_rate,
            nat_source: attributes.nat_source.name().to_owned(),
        }
    }
}

impl TryFrom<attributes::AttributesPatch> for AttributesSpec {
    type Error = Invalid;

    fn try_from(patch: attributes::AttributesPatch) -> Result<Self, Invalid> {
        let draining = patch.connection_draining.unwrap_or_default();
        Ok(Self {
            draining: draining.enabled,
            drain_timeout: draining.timeout.map(checked).transpose()?,
            idle_timeout: patch.idle_timeout.map(checked).transpose()?,
            close_rate: patch.close_rate,
            nat_source: patch.nat_source.map(nat_source).transpose()?,
        })
    }
}

fn nat_source(given: String) -> Result<NatSource, Invalid> {
    NatSource::of_name(&given).ok_or(Invalid::NatSource { given })
}

/// # Errors
/// When a port is 0, the address cannot be a VIP, or the port would have to be
/// translated in a mode that does not.
pub fn listener(mode: Mode, listener: &listener::Listener) -> Result<(ListenerKey, u16), Invalid> {
    if listener.port == 0 {
        return Err(Invalid::PortZero { what: "a listener" });
    }
    let backend_port = listener.backend_port.unwrap_or(listener.port);
    if backend_port == 0 {
        return Err(Invalid::PortZero { what: "a backend" });
    }
    let key = ListenerKey {
        protocol: listener.protocol,
        address: unicast(listener.address, "the address of a listener")?,
        port: listener.port,
    };
    if !mode.translates() && backend_port != key.port {
        return Err(Invalid::PortTranslated {
            listener: key.to_string(),
            backend_port,
            mode: mode.name(),
        });
    }
    Ok((key, backend_port))
}

/// # Errors
/// When the id, the address or the weight is not one.
pub fn backend(new: backend::NewBackend) -> Result<(BackendId, BackendSpec), Invalid> {
    let address = unicast(new.address, "the address of a backend")?;
    let id = match new.id {
        Some(id) => BackendId::try_from(id)?,
        None => BackendId::from(address),
    };
    let weight = checked(new.weight)?;
    Ok((id, BackendSpec { address, weight }))
}

/// # Errors
/// When something in it is wrong in itself or contradicts the rest of it.
pub fn load_balancer(new: load_balancer::NewLoadBalancer) -> Result<(LbName, LbSpec), Invalid> {
    let name = LbName::try_from(new.name)?;
    let mut spec = LbSpec {
        mode: new.mode,
        listeners: Listeners::new(),
        backends: BTreeMap::new(),
        attributes: AttributesSpec::try_from(new.attributes)?,
        health_check: new.health_check.map(HealthCheck::try_from).transpose()?,
    };
    for wanted in &new.listeners {
        let (key, backend_port) = listener(new.mode, wanted)?;
        if spec.listeners.insert(key, backend_port).is_some() {
            return Err(Invalid::ListenerTwice {
                lb: name.to_string(),
                listener: key.to_string(),
            });
        }
    }
    for wanted in new.backends {
        let (id, backend) = backend(wanted)?;
        if spec.backends.insert(id.clone(), backend).is_some() {
            return Err(Invalid::BackendTwice {
                lb: name.to_string(),
                id: id.to_string(),
            });
        }
    }
    if spec.listeners.is_empty() {
        return Err(Invalid::NoListener {
            lb: name.to_string(),
        });
    }
    Ok((name, spec))
}

impl From<health::HealthCheck> for AskedCheck {
    fn from(asked: health::HealthCheck) -> Self {
        let health::HealthCheck {
            target,
            interval,
            timeout,
            unhealthy_threshold,
            healthy_threshold,
            verify_certificate,
            server_name,
        } = asked;
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

impl TryFrom<health::HealthCheck> for HealthCheck {
    type Error = BadCheck;

    fn try_from(asked: health::HealthCheck) -> Result<Self, BadCheck> {
        AskedCheck::from(asked).try_into()
    }
}

impl From<HealthCheck> for health::HealthCheck {
    fn from(check: HealthCheck) -> Self {
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

impl From<NextHop> for backend::NextHop {
    fn from(NextHop { interface, mac }: NextHop) -> Self {
        Self { interface, mac }
    }
}

impl From<BackendCounters> for backend::BackendCounters {
    fn from(counters: BackendCounters) -> Self {
        let BackendCounters {
            packets_in,
            bytes_in,
            packets_out,
            bytes_out,
            opened,
            closed,
            untracked,
        } = counters;
        Self {
            packets_in,
            bytes_in,
            packets_out,
            bytes_out,
            opened,
            closed,
            untracked,
        }
    }
}

impl From<DrainOutcome> for drain::DrainOutcome {
    fn from(outcome: DrainOutcome) -> Self {
        match outcome {
            DrainOutcome::Ended => Self::Ended,
            DrainOutcome::Cut { flows } => Self::Cut { flows },
            DrainOutcome::Cancelled => Self::Cancelled,
        }
    }
}
