//! The addresses that nat may translate to, as they lie in the kernel's tables: those of all
//! load balancers first, then those of single ones. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::abi::backend::Pool;

/// By family: IPv4, IPv6.
type Both<T> = [T; 2];

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pools {
    addresses: Both<Vec<IpAddr>>,
    common: Both<Pool>,
    own: BTreeMap<String, Both<Pool>>,
}

impl Pools {
    /// `common` is for load balancers that have none of their `own` in a family.
    pub(super) fn new(common: &[IpAddr], own: &BTreeMap<String, Vec<IpAddr>>) -> Self {
        let mut pools = Self::default();
        pools.common = pools.add(common);
        for (lb, addresses) in own {
            let added = pools.add(addresses);
            pools.own.insert(lb.clone(), added);
        }
        pools
    }

    fn add(&mut self, more: &[IpAddr]) -> Both<Pool> {
        [false, true].map(|v6| {
            let addresses = &mut self.addresses[usize::from(v6)];
            let first = addresses.len();
            addresses.extend(more.iter().filter(|address| address.is_ipv6() == v6));
            // No more than the table holds, as `Config::settings` has found.
            Pool {
                first: first as u16,
                len: (addresses.len() - first) as u16,
            }
        })
    }

    /// Those of a load balancer in both families; none where it goes by the addresses of the
    /// interfaces.
    pub(super) fn of(&self, lb: &str) -> [Pool; 2] {
        let own = self.own.get(lb).copied().unwrap_or_default();
        [0, 1].map(|family| match own[family] {
            Pool { len: 0, .. } => self.common[family],
            pool => pool,
        })
    }

    /// Of a family, in the order of its table.
    pub(super) fn addresses(&self, v6: bool) -> &[IpAddr] {
        &self.addresses[usize::from(v6)]
    }

    pub(super) fn all(&self) -> BTreeSet<IpAddr> {
        self.addresses.iter().flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(text: &[&str]) -> Vec<IpAddr> {
        text.iter()
            .map(|address| address.parse().unwrap())
            .collect()
    }

    #[test]
    fn a_load_balancer_has_its_own_addresses_or_those_of_all() {
        let own = BTreeMap::from([
            ("dns".to_owned(), ips(&["10.0.1.7", "10.0.1.8", "fd00::7"])),
            ("web".to_owned(), ips(&["10.0.1.9"])),
        ]);
        let pools = Pools::new(&ips(&["10.0.1.1", "fd00::1", "fd00::2"]), &own);
        let pool = |first, len| Pool { first, len };
        assert_eq!(pools.of("other"), [pool(0, 1), pool(0, 2)]);
        assert_eq!(pools.of("dns"), [pool(1, 2), pool(2, 1)]);
        assert_eq!(
            pools.of("web"),
            [pool(3, 1), pool(0, 2)],
            "none of its own in IPv6"
        );
        assert_eq!(
            pools.addresses(false),
            ips(&["10.0.1.1", "10.0.1.7", "10.0.1.8", "10.0.1.9"])
        );
        assert_eq!(
            pools.addresses(true),
            ips(&["fd00::1", "fd00::2", "fd00::7"])
        );
        assert_eq!(pools.all().len(), 7);
        assert_eq!(Pools::default().of("web"), [pool(0, 0); 2]);
    }
}
