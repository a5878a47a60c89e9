//! The routers that lead to clients: what follows from the host's routes and neighbours.
//! No clock and no kernel of its own: both come in. [`super::ends`] has the neighbours.
//!
//! A router is the gateway of a route that leaves by one of our interfaces. It has a number
//! for good, by which flows name it. What may change is where frames for it go:
//!
//! - its MAC address, when another machine takes over its address (VRRP, HSRP, a
//!   replacement);
//! - the router itself, when no route names it any more: what it led to goes by the router
//!   that the routes name now. Where they name none, it stays where it was.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Instant,
};

use lb_common::abi::{
    config::MAX_INTERFACES,
    exit::{MAX_EXITS, MAX_ROUTES},
};
use tracing::{info, warn};

use super::{
    super::exits::{ExitNumber, Leads, RouterRow, Routers as Known},
    ends::{End, Ends, Is},
    kernel::Kernel,
};
use crate::{
    model::{Mac, mac_text},
    netlink::{HostRoute, Link, NeighbourIs, Prefix},
};

/// How many MAC addresses are remembered as having been one router's. Machines that take
/// turns at an address are two or three.
const MACS: usize = 8;

#[derive(Debug)]
struct Router {
    row: RouterRow,
    /// The latest first.
    macs: Vec<Mac>,
    /// What it leads to, or led to when a route last named it.
    prefixes: BTreeSet<Prefix>,
    /// Since which look no route names it.
    gone: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Routers {
    by_number: BTreeMap<ExitNumber, Router>,
    ends: Ends<ExitNumber>,
    routes: BTreeMap<(u32, Prefix), Leads>,
    looks: u64,
    /// More gateways, or routes, than there is room for: said once.
    overflowed: bool,
    told: Option<Known>,
}

/// A served interface as routers need it.
#[derive(Debug, Clone, Copy)]
struct Side {
    mac: Mac,
    mtu: u32,
}

/// A router as the routes name it.
#[derive(Debug, Default)]
struct Named {
    mtu: Option<u32>,
    prefixes: BTreeSet<Prefix>,
}

impl Routers {
    /// Takes over the numbers of an earlier agent.
    pub(super) fn recover(rows: BTreeMap<ExitNumber, RouterRow>) -> Self {
        let by_number = rows
            .into_iter()
            .map(|(number, row)| {
                let router = Router {
                    row,
                    macs: row.to.into_iter().collect(),
                    prefixes: BTreeSet::new(),
                    gone: Some(0),
                };
                (number, router)
            })
            .collect();
        Self {
            by_number,
            ..Self::default()
        }
    }

    /// Takes in the routes of the host as they are now. `links` are those that the program
    /// is attached to.
    pub(super) fn look<'l>(
        &mut self,
        kernel: &mut impl Kernel,
        routes: &[HostRoute],
        links: impl Iterator<Item = &'l Link>,
        now: Instant,
    ) {
        self.looks += 1;
        let sides: BTreeMap<u32, Side> = links
            .filter_map(|link| {
                let (mac, mtu) = (link.mac?, link.mtu);
                Some((link.index, Side { mac, mtu }))
            })
            .collect();
        let mut new = Vec::new();
        let named = named(routes, &sides);
        for (end, named) in &named {
            match self.number_of(end) {
                Some(number) => {
                    if self.name(number, *end, named, sides[&end.0], now) {
                        new.push(*end);
                    }
                }
                None => self.overflow("gateways"),
            }
        }
        for (number, router) in &mut self.by_number {
            if router.gone.is_none() && !named.contains_key(&router.row.end) {
                router.gone = Some(self.looks);
                self.ends.leave(&router.row.end, number);
            }
        }
        for end in new {
            if let Ok(state) = kernel.neighbour(end.0, end.1) {
                self.ends.learn(&end, state, now);
            }
            self.ends.ask_now(end, kernel, now);
        }
        self.routes = self.lead(routes, &sides);
    }

    /// Takes in what the kernel has noticed of a neighbour.
    pub(super) fn heard(&mut self, end: &End, state: NeighbourIs, now: Instant) {
        self.ends.learn(end, state, now);
    }

    /// Asks whom it is time to ask.
    pub(super) fn tick(&mut self, kernel: &mut impl Kernel, now: Instant) {
        self.ends.tick(kernel, now);
    }

    /// What the kernel's tables should say, if that has changed since the last call.
    pub(super) fn news(&mut self, name_of: impl Fn(u32) -> String) -> Option<&Known> {
        for router in self.by_number.values_mut() {
            if router.gone.is_none()
                && let Is::There(mac) = self.ends.is(&router.row.end)
                && router.row.to != Some(mac)
            {
                let (ifindex, address) = router.row.end;
                let interface = name_of(ifindex);
                info!(router = %address, interface, mac = mac_text(mac), "clients' router");
                router.row.to = Some(mac);
                router.macs.retain(|known| *known != mac);
                router.macs.insert(0, mac);
                router.macs.truncate(MACS);
            }
        }
        self.replace_gone();
        let known = self.known();
        if self.told.as_ref() == Some(&known) {
            return None;
        }
        Some(self.told.insert(known))
    }

    /// The number that this router has, or gets now.
    fn number_of(&self, end: &End) -> Option<ExitNumber> {
        let rows = || self.by_number.iter();
        if let Some((number, _)) = rows().find(|(_, router)| router.row.end == *end) {
            return Some(*number);
        }
        let mut numbers = (MAX_INTERFACES..MAX_EXITS).filter_map(|n| ExitNumber::try_from(n).ok());
        numbers
            .find(|number| !self.by_number.contains_key(number))
            .or_else(|| {
                // Whose flows, if any are left, have gone by another router for long.
                let gone = rows().filter_map(|(number, router)| Some((router.gone?, *number)));
                gone.min().map(|(_, number)| number)
            })
    }

    /// A route names the router. True if it was not known, or gone.
    fn name(
        &mut self,
        number: ExitNumber,
        end: End,
        named: &Named,
        side: Side,
        now: Instant,
    ) -> bool {
        let router = self.by_number.entry(number).or_insert_with(|| Router {
            row: RouterRow {
                end,
                ifindex: end.0,
                from: side.mac,
                to: None,
                mtu: 0,
            },
            macs: Vec::new(),
            prefixes: BTreeSet::new(),
            gone: Some(self.looks),
        });
        if router.row.end != end {
            router.row.end = end;
            router.row.to = None;
            router.macs.clear();
        }
        router.row.ifindex = end.0;
        router.row.from = side.mac;
        let mtu = named.mtu.unwrap_or(side.mtu);
        router.row.mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        router.prefixes.clone_from(&named.prefixes);
        let was_gone = router.gone.take().is_some();
        if was_gone {
            // While it was gone another took its place.
            router.row.to = router.macs.first().copied();
        }
        was_gone && self.ends.join(end, number, now)
    }

    /// Where the routes lead, as far as there is room: the shortest prefixes first, and
    /// every router by its own address.
    fn lead(
        &mut self,
        routes: &[HostRoute],
        sides: &BTreeMap<u32, Side>,
    ) -> BTreeMap<(u32, Prefix), Leads> {
        let numbers: BTreeMap<End, ExitNumber> = self
            .by_number
            .iter()
            .filter(|(_, router)| router.gone.is_none())
            .map(|(number, router)| (router.row.end, *number))
            .collect();
        let mut leads = BTreeMap::new();
        for ((ifindex, address), number) in &numbers {
            leads.insert((*ifindex, host(*address)), Leads::To(*number));
        }
        let mut sorted: Vec<_> = routes.iter().collect();
        sorted.sort_by_key(|route| (route.prefix.len, route.metric));
        let counts = |leads: &BTreeMap<(u32, Prefix), Leads>, v6: bool| {
            let of_family = leads.keys().filter(|key| key.1.address.is_ipv6() == v6);
            of_family.count()
        };
        let mut used = [counts(&leads, false), counts(&leads, true)];
        let mut is_too_much = false;
        for route in sorted {
            for hop in &route.hops {
                if !sides.contains_key(&hop.ifindex) {
                    continue;
                }
                let to = match hop.gateway {
                    None => Leads::OnLink,
                    Some(gateway) => match numbers.get(&(hop.ifindex, gateway)) {
                        Some(number) => Leads::To(*number),
                        None => continue,
                    },
                };
                let used = &mut used[usize::from(route.prefix.address.is_ipv6())];
                if *used >= MAX_ROUTES as usize {
                    is_too_much = true;
                } else if let Entry::Vacant(vacant) = leads.entry((hop.ifindex, route.prefix)) {
                    vacant.insert(to);
                    *used += 1;
                }
            }
        }
        if is_too_much {
            self.overflow("routes");
        }
        leads
    }

    /// Has those that no route names any more replaced by those that now lead to what
    /// they led to.
    fn replace_gone(&mut self) {
        let mut replaced = Vec::new();
        for (number, router) in &self.by_number {
            if router.gone.is_some()
                && let Some(by) = self.successor(router)
            {
                replaced.push((*number, by));
            }
        }
        for (number, by) in replaced {
            if let Some(router) = self.by_number.get_mut(&number) {
                router.row = RouterRow {
                    end: router.row.end,
                    ..by
                };
            }
        }
    }

    fn successor(&self, router: &Router) -> Option<RouterRow> {
        let any = Prefix {
            address: match router.row.end.1 {
                IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
            },
            len: 0,
        };
        let prefixes = router.prefixes.iter().chain(Some(&any));
        prefixes
            .flat_map(|prefix| self.routes.iter().filter(move |(key, _)| key.1 == *prefix))
            .find_map(|(_, leads)| match leads {
                Leads::OnLink => None,
                Leads::To(number) => {
                    let row = self.by_number.get(number)?.row;
                    row.to.is_some().then_some(row)
                }
            })
    }

    fn known(&self) -> Known {
        let mut known = Known {
            routes: self.routes.clone(),
            ..Known::default()
        };
        for (number, router) in &self.by_number {
            known.rows.insert(*number, router.row);
        }
        // Whose it is now counts before whose it was.
        let deepest = MACS.min(
            self.by_number
                .values()
                .map(|router| router.macs.len())
                .max()
                .unwrap_or(0),
        );
        for depth in 0..deepest {
            for (number, router) in &self.by_number {
                if let Some(mac) = router.macs.get(depth)
                    && known.macs.len() < MAX_EXITS as usize
                {
                    let (ifindex, address) = router.row.end;
                    let key = (ifindex, *mac, address.is_ipv6());
                    known.macs.entry(key).or_insert(*number);
                }
            }
        }
        known
    }

    fn overflow(&mut self, what: &str) {
        if !self.overflowed {
            self.overflowed = true;
            warn!(
                "the host has more {what} than are followed: answers to clients behind the \
                 others go to the MAC address that their packets come from"
            );
        }
    }
}

/// The routers that the routes name, on these interfaces.
fn named(routes: &[HostRoute], sides: &BTreeMap<u32, Side>) -> BTreeMap<End, Named> {
    let mut all: BTreeMap<End, Named> = BTreeMap::new();
    for route in routes {
        for hop in &route.hops {
            if let Some(gateway) = hop.gateway
                && sides.contains_key(&hop.ifindex)
            {
                let named = all.entry((hop.ifindex, gateway)).or_default();
                named.prefixes.insert(route.prefix);
                named.mtu = named.mtu.min(route.mtu).or(route.mtu);
            }
        }
    }
    all
}

/// The address by itself.
fn host(address: IpAddr) -> Prefix {
    Prefix {
        address,
        len: if address.is_ipv6() { 128 } else { 32 },
    }
}

#[cfg(test)]
mod tests;
