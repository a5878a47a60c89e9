//! The ways out to clients, as the kernel's tables have them: the interfaces, and the
//! routers on them that lead to clients ([`super::nexthop`] finds those).
//!
//! Flows name a way out by its number, so an interface and a router keep theirs, over a
//! restart too.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use bytemuck::Pod;
use lb_common::abi::{
    address::{Addr4, Addr6, Address, words_of},
    config::MAX_INTERFACES,
    exit::{AT_TC, BARE, Exit, INTERFACE_BITS, LOOPBACK, Reach, RouteKey, RouterKey},
};
use tracing::info;

use super::{
    adjacency::address_of,
    mac,
    maps::Maps,
    table::{Table, TableError},
};
use crate::{
    model::{Hook, Mac},
    netlink::{Link, Prefix},
};

/// The number of a router among the ways out.
pub(super) type ExitNumber = u16;

/// A router that leads to clients, as frames reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RouterRow {
    /// Its interface and address.
    pub(super) end: (u32, IpAddr),
    /// The interface to leave by, and our MAC address there.
    pub(super) ifindex: u32,
    pub(super) from: Mac,
    /// Not known yet: answers go where the client's packets come from.
    pub(super) to: Option<Mac>,
    pub(super) mtu: u16,
}

impl RouterRow {
    fn to_exit(self, at_tc: bool) -> Exit {
        Exit {
            ifindex: self.ifindex,
            from: mac::words(self.from),
            to: mac::words(self.to.unwrap_or_default()),
            mtu: self.mtu,
            v6: self.end.1.is_ipv6().into(),
            flags: if at_tc { AT_TC } else { 0 },
            home: self.end.0,
            router: words_of(self.end.1),
        }
    }

    fn of(exit: &Exit) -> Self {
        let to = mac::bytes(exit.to);
        Self {
            end: (exit.home, address_of(exit.router, exit.v6 != 0)),
            ifindex: exit.ifindex,
            from: mac::bytes(exit.from),
            to: (to != Mac::default()).then_some(to),
            mtu: exit.mtu,
        }
    }
}

/// What a route leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leads {
    /// To hosts on the link itself.
    OnLink,
    To(ExitNumber),
}

/// What is known of routers: what the kernel's tables should say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Routers {
    pub(super) rows: BTreeMap<ExitNumber, RouterRow>,
    /// Whose a MAC address on an interface is, for a family (true: IPv6).
    pub(super) macs: BTreeMap<(u32, Mac, bool), ExitNumber>,
    /// By interface.
    pub(super) routes: BTreeMap<(u32, Prefix), Leads>,
}

/// The kernel's tables, as they were written.
pub(super) struct Exits {
    /// By our number: interfaces.
    interfaces: BTreeMap<u32, Exit>,
    /// Interfaces of this agent, by name.
    pub(super) served: BTreeMap<String, Served>,
    routers: BTreeMap<u32, Exit>,
    macs: BTreeMap<RouterKey, u32>,
    routes_v4: BTreeMap<RouteKey<Addr4>, u32>,
    routes_v6: BTreeMap<RouteKey<Addr6>, u32>,
}

/// The index of an interface that is not there; the kernel's begin at 1.
pub(super) const GONE: u32 = 0;

pub(super) struct Served {
    pub(super) number: u32,
    /// Or [`GONE`].
    pub(super) ifindex: u32,
    pub(super) hook: Hook,
    /// It is the loopback device: clients on this host come by it, and nothing else does.
    pub(super) is_loopback: bool,
    /// What comes and leaves by it has no link header.
    pub(super) is_bare: bool,
}

impl Exits {
    pub(super) fn recover(maps: &Maps) -> Result<Self, TableError> {
        let mut interfaces = BTreeMap::new();
        let mut routers = BTreeMap::new();
        maps.exits.each(|number, row| {
            if row.ifindex == GONE {
                return;
            }
            if *number < MAX_INTERFACES {
                interfaces.insert(*number, *row);
            } else {
                routers.insert(*number, *row);
            }
        })?;
        let mut macs = BTreeMap::new();
        maps.routers.each(|key, number| {
            macs.insert(*key, *number);
        })?;
        Ok(Self {
            interfaces,
            served: BTreeMap::new(),
            routers,
            macs,
            routes_v4: maps.v4.routes.entries()?,
            routes_v6: maps.v6.routes.entries()?,
        })
    }

    // Interfaces.

    /// Whether an interface of this agent has this index now.
    pub(super) fn has(&self, ifindex: u32) -> bool {
        self.served.values().any(|s| s.ifindex == ifindex)
    }

    pub(super) fn is_attached(&self, link: &Link) -> bool {
        let served = self.served.get(&link.name);
        served.is_some_and(|served| served.ifindex == link.index)
    }

    /// Writes the interface to the tables, and says which number it has. `None` if all
    /// are taken.
    pub(super) fn put_interface(
        &mut self,
        maps: &Maps,
        link: &Link,
    ) -> Result<Option<u32>, TableError> {
        let Some(number) = self.number_of(link) else {
            return Ok(None);
        };
        let old = self.interfaces.get(&number).copied();
        let row = Exit {
            ifindex: link.index,
            from: mac::words(link.mac.unwrap_or_default()),
            mtu: u16::try_from(link.mtu).unwrap_or(u16::MAX),
            flags: old.map_or(0, |old| old.flags & AT_TC)
                | if link.bare { BARE } else { 0 }
                | if link.loopback { LOOPBACK } else { 0 },
            ..Exit::default()
        };
        self.interfaces.insert(number, row);
        if old != Some(row) {
            maps.exits.put(&number, &row)?;
        }
        if let Some(old) = old
            && old.ifindex != link.index
        {
            info!(interface = link.name, "the interface is another one now");
            maps.interface_by_ifindex.delete(&old.ifindex)?;
        }
        maps.interface_by_ifindex.put(&link.index, &number)?;
        Ok(Some(number))
    }

    /// Whether the interface takes no frames from XDP.
    pub(super) fn is_at_tc(&self, ifindex: u32) -> bool {
        let mut served = self.served.values();
        served.any(|served| served.ifindex == ifindex && served.hook == Hook::Tc)
    }

    /// Writes to the ways out which hooks their interfaces have; true if that is new.
    pub(super) fn put_hooks(&mut self, maps: &Maps) -> Result<bool, TableError> {
        let at_tc: BTreeSet<u32> = self
            .served
            .values()
            .filter(|served| served.hook == Hook::Tc)
            .map(|served| served.ifindex)
            .collect();
        let mut is_new = false;
        for (number, row) in self.interfaces.iter_mut().chain(&mut self.routers) {
            let other = row.flags & !AT_TC;
            let flags = if at_tc.contains(&row.ifindex) {
                other | AT_TC
            } else {
                other
            };
            if row.flags != flags {
                row.flags = flags;
                maps.exits.put(number, row)?;
                is_new = true;
            }
        }
        Ok(is_new)
    }

    /// The number that the interface has or had; for a new one, a free number.
    fn number_of(&self, link: &Link) -> Option<u32> {
        if let Some(served) = self.served.get(&link.name) {
            return Some(served.number);
        }
        let mut rows = self.interfaces.iter();
        if let Some((number, _)) = rows.find(|(_, row)| row.ifindex == link.index) {
            return Some(*number);
        }
        let taken = |number: &u32| self.interfaces.contains_key(number);
        let served = |number: &u32| self.served.values().any(|s| s.number == *number);
        (0..MAX_INTERFACES)
            .find(|number| !taken(number))
            .or_else(|| (0..MAX_INTERFACES).find(|number| !served(number)))
    }

    // Routers.

    /// The routers that an earlier agent knew, by their numbers.
    pub(super) fn routers(&self) -> BTreeMap<ExitNumber, RouterRow> {
        self.routers
            .iter()
            .filter_map(|(number, exit)| {
                Some((ExitNumber::try_from(*number).ok()?, RouterRow::of(exit)))
            })
            .collect()
    }

    /// Makes the tables say what is known of routers now. Rows come first: whatever names
    /// one finds it written.
    pub(super) fn put_routers(&mut self, maps: &Maps, known: &Routers) -> Result<(), TableError> {
        for (number, row) in &known.rows {
            let exit = row.to_exit(self.is_at_tc(row.ifindex));
            let number = u32::from(*number);
            if self.routers.get(&number) != Some(&exit) {
                maps.exits.put(&number, &exit)?;
                self.routers.insert(number, exit);
            }
        }
        let macs = known.macs.iter().map(|((ifindex, mac, v6), number)| {
            let key = RouterKey {
                ifindex: *ifindex,
                mac: mac::words(*mac),
                v6: (*v6).into(),
            };
            (key, u32::from(*number))
        });
        agree(&maps.routers, &mut self.macs, &macs.collect())?;
        let (mut v4, mut v6) = (BTreeMap::new(), BTreeMap::new());
        for ((ifindex, prefix), leads) in &known.routes {
            let number = match leads {
                Leads::To(number) => u32::from(*number),
                Leads::OnLink => {
                    let mut served = self.served.values();
                    match served.find(|served| served.ifindex == *ifindex) {
                        Some(served) => served.number,
                        None => continue,
                    }
                }
            };
            match prefix.address {
                IpAddr::V4(address) => {
                    v4.insert(
                        route_key(*ifindex, Addr4::from(address), prefix.len),
                        number,
                    );
                }
                IpAddr::V6(address) => {
                    v6.insert(
                        route_key(*ifindex, Addr6::from(address), prefix.len),
                        number,
                    );
                }
            }
        }
        agree(&maps.v4.routes, &mut self.routes_v4, &v4)?;
        agree(&maps.v6.routes, &mut self.routes_v6, &v6)
    }
}

fn route_key<A: Address>(ifindex: u32, address: A, len: u8) -> RouteKey<A> {
    RouteKey {
        bits: INTERFACE_BITS + u32::from(len),
        reach: Reach { ifindex, address },
    }
}

/// Makes a table that said `written` say what is `wanted`. What is not wanted any more
/// goes before what is new comes: there may be no room for both.
fn agree<K: Pod + Ord>(
    table: &Table<K, u32>,
    written: &mut BTreeMap<K, u32>,
    wanted: &BTreeMap<K, u32>,
) -> Result<(), TableError> {
    let (changed, new): (Vec<_>, Vec<_>) = wanted
        .iter()
        .filter(|(key, number)| written.get(key) != Some(number))
        .partition(|(key, _)| written.contains_key(key));
    for (key, number) in changed {
        table.put(key, number)?;
        written.insert(*key, *number);
    }
    let gone: Vec<K> = written
        .keys()
        .filter(|key| !wanted.contains_key(key))
        .copied()
        .collect();
    for key in gone {
        table.delete(&key)?;
        written.remove(&key);
    }
    for (key, number) in new {
        table.put(key, number)?;
        written.insert(*key, *number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_comes_back_from_the_row_that_it_was_written_to() {
        for address in ["10.0.0.254", "fe80::1"] {
            let row = RouterRow {
                end: (7, address.parse().unwrap()),
                ifindex: 8,
                from: [1, 2, 3, 4, 5, 6],
                to: Some([7, 8, 9, 10, 11, 12]),
                mtu: 1500,
            };
            assert_eq!(RouterRow::of(&row.to_exit(false)), row);
            let unknown = RouterRow { to: None, ..row };
            assert_eq!(RouterRow::of(&unknown.to_exit(true)), unknown);
        }
    }
}
