//! What someone wants a load balancer to be, validated. It comes from the file
//! or from the API, and the store keeps what a file said last.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
};

use lb_common::mode::Mode;

use super::{
    attributes::AttributesSpec,
    health_check::HealthCheck,
    invalid::Invalid,
    listener::ListenerKey,
    values::{BackendId, LbName, Weight},
};

/// The listeners of a load balancer and the ports that its backends listen on.
pub type Listeners = BTreeMap<ListenerKey, u16>;

/// Load balancers by name, as one source declares them.
pub type Declaration = BTreeMap<LbName, LbSpec>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LbSpec {
    pub mode: Mode,
    pub listeners: Listeners,
    pub backends: BTreeMap<BackendId, BackendSpec>,
    pub attributes: AttributesSpec,
    pub health_check: Option<HealthCheck>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackendSpec {
    pub address: IpAddr,
    pub weight: Weight,
}

/// A number from the border as the value that it should be.
///
/// # Errors
/// When it is out of the value's range.
pub fn checked<T: TryFrom<i64, Error = Invalid>>(number: impl Into<i64>) -> Result<T, Invalid> {
    T::try_from(number.into())
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
            Some("an IPv4-mapped IPv6 address; write it as IPv4")
        }
        IpAddr::V6(a) if a.is_unicast_link_local() => Some("a link-local address"),
        _ => None,
    };
    match why {
        Some(why) => Err(Invalid::Address { address, what, why }),
        None => Ok(address),
    }
}
