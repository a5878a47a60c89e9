//! From routes, links and neighbours to ways. No clock and no kernel of its own:
//! both come in.

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    time::{Duration, Instant},
};

use super::super::{
    netlink::{Link, Neighbour, NeighbourIs, Netlink, Route, RouteKind},
    way::{Mac, Way},
};
use crate::model::BackendIndex;

/// Whom to ask about routes and neighbours.
pub(super) trait Kernel {
    fn route(&mut self, to: IpAddr) -> io::Result<Route>;
    fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> io::Result<NeighbourIs>;
    fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()>;
}

impl Kernel for Netlink {
    fn route(&mut self, to: IpAddr) -> io::Result<Route> {
        self.route(to)
    }
    fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> io::Result<NeighbourIs> {
        self.neighbour(ifindex, address)
    }
    fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        self.solicit(ifindex, address)
    }
}

/// Why there is no way to a backend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoWay {
    #[error("there is no route to {to}: {reason}")]
    NoRoute { to: IpAddr, reason: String },
    #[error("{0} is an address of this host; a backend must be another one")]
    Local(IpAddr),
    #[error("the route to {0} leads to no host")]
    NotUnicast(IpAddr),
    #[error(
        "the route to {to} leads through {interface}, where ebb is not attached; add it to \
         `interfaces`"
    )]
    NotServed { to: IpAddr, interface: String },
    #[error("the route to {to} leads through {interface}, which is not an Ethernet interface")]
    NotEthernet { to: IpAddr, interface: String },
    #[error("this host has no address towards {to} on {interface}; give it one")]
    NoSource { to: IpAddr, interface: String },
    #[error("{neighbour} does not answer on {interface} when asked for its MAC address")]
    Silent {
        neighbour: IpAddr,
        interface: String,
    },
}

/// The way, but for the MAC address at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hop {
    ifindex: u32,
    interface: String,
    /// The backend or the router before it.
    neighbour: IpAddr,
    from: Mac,
    source: IpAddr,
    mtu: u16,
}

struct Watched {
    address: IpAddr,
    hop: Result<Hop, NoWay>,
    mac: Option<Mac>,
    /// There was no answer since the last one.
    silent: bool,
    /// Nobody needs to be asked.
    fixed: bool,
    asked: Instant,
    told: Option<Result<Way, NoWay>>,
}

/// How often a neighbour that has not answered is asked again.
const ASK: Duration = Duration::from_secs(1);

/// How often one that has is used, so that the kernel confirms it. The kernel
/// takes an answer as good for 15 to 45 s.
const CONFIRM: Duration = Duration::from_secs(10);

/// How often the route is looked up although nothing was heard of a change.
const LOOK: Duration = Duration::from_secs(30);

pub(super) struct Resolver {
    served: Vec<String>,
    links: BTreeMap<u32, Link>,
    watched: BTreeMap<BackendIndex, Watched>,
    looked: Option<Instant>,
}

impl Resolver {
    /// Ways lead through the interfaces of these names.
    pub(super) fn new(served: Vec<String>) -> Self {
        Self {
            served,
            links: BTreeMap::new(),
            watched: BTreeMap::new(),
            looked: None,
        }
    }

    pub(super) fn set_links(&mut self, links: Vec<Link>) {
        self.links = links.into_iter().map(|l| (l.index, l)).collect();
    }

    pub(super) fn name_of(&self, ifindex: u32) -> String {
        self.links
            .get(&ifindex)
            .map_or_else(|| format!("interface {ifindex}"), |l| l.name.clone())
    }

    pub(super) fn watch(
        &mut self,
        kernel: &mut impl Kernel,
        backend: BackendIndex,
        address: IpAddr,
        now: Instant,
    ) {
        if self
            .watched
            .get(&backend)
            .is_some_and(|w| w.address == address)
        {
            return;
        }
        let mut watched = Watched {
            address,
            hop: Err(NoWay::NotUnicast(address)),
            mac: None,
            silent: false,
            fixed: false,
            asked: now,
            told: None,
        };
        self.find(kernel, &mut watched, now);
        self.watched.insert(backend, watched);
    }

    pub(super) fn forget(&mut self, backend: BackendIndex) {
        self.watched.remove(&backend);
    }

    /// Looks at the route to every backend anew.
    pub(super) fn look(&mut self, kernel: &mut impl Kernel, now: Instant) {
        let mut all = std::mem::take(&mut self.watched);
        for watched in all.values_mut() {
            self.find(kernel, watched, now);
        }
        self.watched = all;
        self.looked = Some(now);
    }

    /// Takes in what the kernel has noticed of a neighbour.
    pub(super) fn heard(&mut self, neighbour: &Neighbour) {
        for watched in self.watched.values_mut() {
            if let Ok(hop) = &watched.hop
                && hop.ifindex == neighbour.ifindex
                && hop.neighbour == neighbour.address
            {
                watched.learn(neighbour.state);
            }
        }
    }

    /// Asks whom it is time to ask.
    pub(super) fn tick(&mut self, kernel: &mut impl Kernel, now: Instant) {
        if self.looked.is_some_and(|t| now >= t + LOOK) {
            self.look(kernel, now);
        }
        for watched in self.watched.values_mut() {
            let after = if watched.mac.is_some() { CONFIRM } else { ASK };
            if now >= watched.asked + after {
                watched.ask(kernel, now);
            }
        }
    }

    /// What has become known since the last call.
    pub(super) fn news(&mut self) -> Vec<(BackendIndex, Result<Way, NoWay>)> {
        let mut news = Vec::new();
        for (backend, watched) in &mut self.watched {
            let Some(way) = watched.way() else {
                continue;
            };
            if watched.told.as_ref() != Some(&way) {
                watched.told = Some(way.clone());
                news.push((*backend, way));
            }
        }
        news
    }

    fn find(&self, kernel: &mut impl Kernel, watched: &mut Watched, now: Instant) {
        let to = watched.address;
        let hop = match kernel.route(to) {
            Ok(route) => self.hop(to, &route),
            Err(error) => Err(NoWay::NoRoute {
                to,
                reason: error.to_string(),
            }),
        };
        let end = |hop: &Result<Hop, NoWay>| hop.as_ref().ok().map(|h| (h.ifindex, h.neighbour));
        if end(&hop) != end(&watched.hop) {
            watched.mac = None;
            watched.silent = false;
            watched.fixed = false;
        }
        watched.hop = hop;
        if let Ok(hop) = &watched.hop
            && let Ok(state) = kernel.neighbour(hop.ifindex, hop.neighbour)
        {
            watched.learn(state);
            if watched.mac.is_none() {
                watched.ask(kernel, now);
            }
        }
    }

    fn hop(&self, to: IpAddr, route: &Route) -> Result<Hop, NoWay> {
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Local => return Err(NoWay::Local(to)),
            RouteKind::Other => return Err(NoWay::NotUnicast(to)),
        }
        let ifindex = route.ifindex.ok_or(NoWay::NotUnicast(to))?;
        let interface = self.name_of(ifindex);
        let link = self
            .links
            .get(&ifindex)
            .filter(|link| self.served.contains(&link.name));
        let Some(link) = link else {
            return Err(NoWay::NotServed { to, interface });
        };
        let Some(from) = link.mac else {
            return Err(NoWay::NotEthernet { to, interface });
        };
        let source = route.source.filter(|s| s.is_ipv4() == to.is_ipv4());
        let Some(source) = source else {
            return Err(NoWay::NoSource { to, interface });
        };
        let mtu = route.mtu.filter(|mtu| *mtu > 0).unwrap_or(link.mtu);
        Ok(Hop {
            ifindex,
            interface,
            neighbour: route.gateway.unwrap_or(to),
            from,
            source,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        })
    }
}

impl Watched {
    fn learn(&mut self, state: NeighbourIs) {
        match state {
            NeighbourIs::Learnt(mac) => {
                self.mac = Some(mac);
                self.silent = false;
                self.fixed = false;
            }
            NeighbourIs::Fixed(mac) => {
                self.mac = Some(mac);
                self.silent = false;
                self.fixed = true;
            }
            NeighbourIs::Silent => {
                self.mac = None;
                self.silent = true;
                self.fixed = false;
            }
            // What was known stays good until there is an answer or none.
            NeighbourIs::Asked | NeighbourIs::Unknown => self.fixed = false,
        }
    }

    fn ask(&mut self, kernel: &mut impl Kernel, now: Instant) {
        self.asked = now;
        if let Ok(hop) = &self.hop
            && !self.fixed
        {
            // It fails when the interface is going away, of which there is a
            // notice; otherwise it is tried again.
            let _ = kernel.solicit(hop.ifindex, hop.neighbour);
        }
    }

    /// `None` while there is neither an answer nor the lack of one.
    fn way(&self) -> Option<Result<Way, NoWay>> {
        let hop = match &self.hop {
            Ok(hop) => hop,
            Err(reason) => return Some(Err(reason.clone())),
        };
        match self.mac {
            Some(to) => Some(Ok(Way {
                ifindex: hop.ifindex,
                to,
                from: hop.from,
                source: hop.source,
                mtu: hop.mtu,
            })),
            None if self.silent => Some(Err(NoWay::Silent {
                neighbour: hop.neighbour,
                interface: hop.interface.clone(),
            })),
            None => None,
        }
    }
}

#[cfg(test)]
mod tests;
