//! What a source declared, as it is written down.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use super::{
    bad::BadDocument,
    desired::{HealthCheck, Mode, NatSource, read_listeners, write_listeners},
};
use crate::model::{
    AttributesSpec, BackendId, BackendSpec, Declaration, DrainTimeout, IdleTimeout, LbName, LbSpec,
    checked,
};

/// By name.
pub type Declared = BTreeMap<String, LoadBalancer>;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadBalancer {
    pub mode: Mode,
    pub listeners: BTreeMap<String, u16>,
    pub backends: BTreeMap<String, Backend>,
    /// What is left out was not declared.
    pub attributes: Attributes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Backend {
    pub address: IpAddr,
    pub weight: u16,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attributes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_rate: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat_source: Option<NatSource>,
}

pub(super) fn write(declaration: &Declaration) -> Declared {
    let backend = |(id, spec): (&BackendId, &BackendSpec)| {
        let backend = Backend {
            address: spec.address,
            weight: spec.weight.get(),
        };
        (id.to_string(), backend)
    };
    let lb = |(name, spec): (&LbName, &LbSpec)| {
        let lb = LoadBalancer {
            mode: spec.mode.into(),
            listeners: write_listeners(&spec.listeners),
            backends: spec.backends.iter().map(backend).collect(),
            attributes: Attributes {
                draining: spec.attributes.draining,
                drain_timeout: spec.attributes.drain_timeout.map(DrainTimeout::get),
                idle_timeout: spec.attributes.idle_timeout.map(IdleTimeout::get),
                close_rate: spec.attributes.close_rate,
                nat_source: spec.attributes.nat_source.map(Into::into),
            },
            health_check: spec.health_check.clone().map(Into::into),
        };
        (name.to_string(), lb)
    };
    declaration.iter().map(lb).collect()
}

/// # Errors
/// When it was not a declaration.
pub fn read(declared: Declared) -> Result<Declaration, BadDocument> {
    let mut declaration = Declaration::new();
    for (name, lb) in declared {
        let mut backends = BTreeMap::new();
        for (id, Backend { address, weight }) in lb.backends {
            let weight = checked(weight)?;
            backends.insert(BackendId::try_from(id)?, BackendSpec { address, weight });
        }
        let spec = LbSpec {
            mode: lb.mode.into(),
            listeners: read_listeners(lb.listeners)?,
            backends,
            attributes: AttributesSpec {
                draining: lb.attributes.draining,
                drain_timeout: lb.attributes.drain_timeout.map(checked).transpose()?,
                idle_timeout: lb.attributes.idle_timeout.map(checked).transpose()?,
                close_rate: lb.attributes.close_rate,
                nat_source: lb.attributes.nat_source.map(Into::into),
            },
            health_check: lb.health_check.map(TryInto::try_into).transpose()?,
        };
        declaration.insert(LbName::try_from(name)?, spec);
    }
    Ok(declaration)
}
