//! The `[elb_api]` section: where the Query API listens, who may use it, which
//! VIPs it gives away, and which addresses the names of instances stand for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    diagnostic::{At, Findings},
    entrance::{Entrance, entrance},
    value::address,
    written::WrittenElbApi,
};
use crate::model::BackendId;

/// The Query API as it is to run. Changes need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElbApi {
    /// Without access keys, requests need no signature.
    pub entrance: Entrance,
    /// What new load balancers get their addresses from.
    pub vip_pool: VipPool,
    /// Instance ids that are not addresses themselves.
    pub instances: BTreeMap<BackendId, IpAddr>,
}

/// Addresses to give away, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VipPool(Vec<(IpAddr, IpAddr)>);

impl VipPool {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first address that is none of `taken`.
    #[must_use]
    pub fn first_free(&self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        self.0
            .iter()
            .flat_map(|(first, last)| {
                (number(*first)..=number(*last)).map(|n| numbered(n, first.is_ipv4()))
            })
            .find(|address| !taken.contains(address))
    }

    fn overlaps(&self, first: IpAddr, last: IpAddr) -> bool {
        self.0.iter().any(|(from, to)| {
            from.is_ipv4() == first.is_ipv4()
                && number(*from) <= number(last)
                && number(first) <= number(*to)
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn numbered(n: u128, v4: bool) -> IpAddr {
    match u32::try_from(n) {
        Ok(n) if v4 => IpAddr::V4(n.into()),
        _ => IpAddr::V6(n.into()),
    }
}

/// Where the Query API listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:8089";

pub(super) fn elb_api(written: At<WrittenElbApi>, findings: &mut Findings<'_>) -> Option<ElbApi> {
    let At {
        value: written,
        span,
    } = written;
    let entrance = entrance(written.entrance, DEFAULT_LISTEN, &span, findings);
    let mut vip_pool = VipPool::default();
    for At { value, span } in written.vip_pool.map_or_else(Vec::new, |at| at.value) {
        let (first, last) = value.split_once('-').unwrap_or((&value, &value));
        let mut end =
            |text: &str| address(text.trim(), &span, "an address of the VIP pool", findings);
        let (Some(first), Some(last)) = (end(first), end(last)) else {
            continue;
        };
        if first.is_ipv4() != last.is_ipv4() || first > last {
            let message =
                format!("{value:?} is not a range: it goes from the lower address to the higher");
            findings.add(&span, message, None);
        } else if vip_pool.overlaps(first, last) {
            findings.add(&span, format!("{value:?} is in the VIP pool already"), None);
        } else {
            vip_pool.0.push((first, last));
        }
    }
    let mut instances = BTreeMap::new();
    for (id, At { value, span }) in written.instances {
        let Some(at) = address(&value, &span, "the address of an instance", findings) else {
            continue;
        };
        if let Some(id) = findings.keep(&span, BackendId::try_from(id)) {
            instances.insert(id, at);
        }
    }
    Some(ElbApi {
        entrance: entrance?,
        vip_pool,
        instances,
    })
}

#[cfg(test)]
mod tests;
