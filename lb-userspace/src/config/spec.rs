//! What someone wants a load balancer to be, validated. It comes from the file
//! or from the API, and the store keeps what a file said last.

use std::{
    collections::BTreeMap,
    fmt::Display,
    net::{IpAddr, Ipv4Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

use super::{
    invalid::Invalid,
    values::{BackendId, DrainTimeout, IdleTimeout, LbName, Weight},
};
use crate::{
    api::types,
    dataplane::{ListenerKey, Mode},
    health::HealthCheck,
};

/// The listeners of a load balancer and the ports that its backends listen on.
pub type Listeners = BTreeMap<ListenerKey, u16>;

/// Load balancers by name, as one source declares them.
pub type Declaration = BTreeMap<LbName, LbSpec>;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LbSpec {
    pub mode: Mode,
    #[serde(with = "by_text")]
    pub listeners: Listeners,
    pub backends: BTreeMap<BackendId, BackendSpec>,
    #[serde(default)]
    pub attributes: AttributesSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_check: Option<HealthCheck>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackendSpec {
    pub address: IpAddr,
    pub weight: Weight,
}

/// What is left out is not asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttributesSpec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub draining: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<DrainTimeout>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<IdleTimeout>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_rate: Option<u32>,
}

/// The attributes in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    pub draining: bool,
    pub drain_timeout: DrainTimeout,
    pub idle_timeout: IdleTimeout,
    /// Forced closes per second; 0 is no limit.
    pub close_rate: u32,
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            draining: true,
            drain_timeout: DrainTimeout::DEFAULT,
            idle_timeout: IdleTimeout::DEFAULT,
            close_rate: 0,
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
        }
    }

    /// How long a drain that begins now may take; `None`: draining is off.
    #[must_use]
    pub fn drain(&self) -> Option<DrainTimeout> {
        self.draining.then_some(self.drain_timeout)
    }
}

impl From<Attributes> for types::Attributes {
    fn from(attributes: Attributes) -> Self {
        Self {
            connection_draining: types::ConnectionDraining {
                enabled: attributes.draining,
                timeout: attributes.drain_timeout.get(),
            },
            idle_timeout: attributes.idle_timeout.get(),
            close_rate: attributes.close_rate,
        }
    }
}

impl TryFrom<types::AttributesPatch> for AttributesSpec {
    type Error = Invalid;

    fn try_from(patch: types::AttributesPatch) -> Result<Self, Invalid> {
        let draining = patch.connection_draining.unwrap_or_default();
        Ok(Self {
            draining: draining.enabled,
            drain_timeout: draining.timeout.map(checked).transpose()?,
            idle_timeout: patch.idle_timeout.map(checked).transpose()?,
            close_rate: patch.close_rate,
        })
    }
}

/// A number from the border as the value that it should be.
///
/// # Errors
/// When it is out of the value's range.
pub fn checked<T: TryFrom<i64, Error = Invalid>>(number: impl Into<i64>) -> Result<T, Invalid> {
    T::try_from(number.into())
}

/// # Errors
/// When a port is 0, the address cannot be a VIP, or the port would have to be
/// translated in a mode that does not.
pub fn listener(mode: Mode, listener: &types::Listener) -> Result<(ListenerKey, u16), Invalid> {
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
pub fn backend(new: types::NewBackend) -> Result<(BackendId, BackendSpec), Invalid> {
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
pub fn load_balancer(new: types::NewLoadBalancer) -> Result<(LbName, LbSpec), Invalid> {
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

/// The address, if it can be that of one host.
///
/// # Errors
/// When it is anything else; `what` it should have been.
pub fn unicast(address: IpAddr, what: &'static str) -> Result<IpAddr, Invalid> {
    let why = match address {
        a if a.is_unspecified() => Some("unspecified"),
        a if a.is_loopback() => Some("a loopback address"),
        a if a.is_multicast() => Some("a multicast address"),
        IpAddr::V4(Ipv4Addr::BROADCAST) => Some("the broadcast address"),
        IpAddr::V4(a) if a.octets()[0] == 0 => Some("of \"this network\", 0.0.0.0/8"),
        IpAddr::V6(a) if a.to_ipv4_mapped().is_some() => {
            Some("an IPv4 address in IPv6's clothes; write it as IPv4")
        }
        IpAddr::V6(a) if a.is_unicast_link_local() => Some("a link-local address"),
        _ => None,
    };
    match why {
        Some(why) => Err(Invalid::Address { address, what, why }),
        None => Ok(address),
    }
}

/// A map whose keys are written as text.
pub mod by_text {
    use serde::{Deserializer, Serializer, de::Error as _};

    use super::{BTreeMap, Deserialize, Display, FromStr, Serialize};

    /// # Errors
    /// The serializer's.
    pub fn serialize<K: Display, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(map.iter().map(|(key, value)| (key.to_string(), value)))
    }

    /// # Errors
    /// When a key is not one.
    pub fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: FromStr<Err: Display> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        BTreeMap::<String, V>::deserialize(deserializer)?
            .into_iter()
            .map(|(key, value)| Ok((key.parse().map_err(D::Error::custom)?, value)))
            .collect()
    }
}
