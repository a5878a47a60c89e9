//! From routes, links and neighbours to adjacencies. No clock and no kernel of its own:
//! both come in. [`super::ends`] has the neighbours.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::{
    super::adjacency::Adjacency,
    ends::{End, Ends, Is},
    kernel::Kernel,
};
use crate::{
    model::{BackendIndex, Mac},
    netlink::{Link, Neighbour, Route, RouteKind},
};

/// Why a backend cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreachable {
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
    #[error(
        "the route to {to} leads through {interface}, whose link headers are neither Ethernet's \
         nor none"
    )]
    NotEthernet { to: IpAddr, interface: String },
    #[error("this host has no address towards {to} on {interface}; give it one")]
    NoSource { to: IpAddr, interface: String },
    #[error("{neighbour} does not answer on {interface} when asked for its MAC address")]
    Silent {
        neighbour: IpAddr,
        interface: String,
    },
    #[error(
        "the host does not ask for the MAC address of {neighbour} on {interface}; if its table \
         of neighbours is full, raise net.ipv4.neigh.default.gc_thresh3 (or ipv6) beyond the \
         number of backends"
    )]
    Unasked {
        neighbour: IpAddr,
        interface: String,
    },
}

/// An adjacency, but for the MAC address at its far end.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hop {
    ifindex: u32,
    interface: String,
    /// The backend or the router before it.
    neighbour: IpAddr,
    /// `None` where nobody has a MAC address: then there is nobody to ask for one.
    from: Option<Mac>,
    source: IpAddr,
    mtu: u16,
}

impl Hop {
    /// Whom to ask for a MAC address.
    fn end(&self) -> Option<End> {
        self.from.map(|_| (self.ifindex, self.neighbour))
    }
}

struct Watched {
    address: IpAddr,
    hop: Result<Hop, Unreachable>,
    told: Option<Result<Adjacency, Unreachable>>,
}

/// How often the routes are looked up although nothing was heard of a change.
pub(super) const LOOK: Duration = Duration::from_secs(30);

/// Looking at them unasked takes at most this share of the time.
const LOOK_SHARE: u32 = 1000;

/// How often it is told that a backend without a way is without it for another reason. On
/// a host that knows too many neighbours, reasons change all the time, and nothing else
/// follows from them.
pub(super) const EXPLAIN: Duration = Duration::from_secs(10);

/// So many neighbours are asked for one by one; for more, all there are are read.
const FEW: usize = 16;

pub(super) struct Resolver {
    served: Vec<String>,
    links: BTreeMap<u32, Link>,
    watched: BTreeMap<BackendIndex, Watched>,
    ends: Ends<BackendIndex>,
    /// When to look at the routes unasked.
    look: Option<Instant>,
    /// Backends that have another reason now, which is told with the next ones.
    unexplained: BTreeSet<BackendIndex>,
    /// When new reasons are told again.
    explain: Option<Instant>,
    /// When the last tick was.
    ticked: Option<Instant>,
}

impl Resolver {
    /// Backends are reached through the interfaces of these names only.
    pub(super) fn new(served: Vec<String>) -> Self {
        Self {
            served,
            links: BTreeMap::new(),
            watched: BTreeMap::new(),
            ends: Ends::default(),
            look: None,
            unexplained: BTreeSet::new(),
            explain: None,
            ticked: None,
        }
    }

    pub(super) fn set_links(&mut self, links: Vec<Link>) {
        self.links = links.into_iter().map(|l| (l.index, l)).collect();
    }

    /// The interfaces that the program serves.
    pub(super) fn served(&self) -> impl Iterator<Item = &Link> {
        let links = self.links.values();
        links.filter(|link| self.served.contains(&link.name))
    }

    pub(super) fn name_of(&self, ifindex: u32) -> String {
        self.links
            .get(&ifindex)
            .map_or_else(|| format!("interface {ifindex}"), |l| l.name.clone())
    }

    /// Finds the next hops of these backends from now on.
    pub(super) fn watch(
        &mut self,
        kernel: &mut impl Kernel,
        backends: &[(BackendIndex, IpAddr)],
        now: Instant,
    ) {
        let mut new = Vec::new();
        for (backend, address) in backends {
            let known = self.watched.get(backend);
            if known.is_some_and(|watched| watched.address == *address) {
                continue;
            }
            self.forget(*backend);
            let watched = Watched {
                address: *address,
                hop: Err(Unreachable::NotUnicast(*address)),
                told: None,
            };
            self.watched.insert(*backend, watched);
            new.push(*backend);
        }
        self.find(kernel, &new, now);
    }

    pub(super) fn forget(&mut self, backend: BackendIndex) {
        if let Some(watched) = self.watched.remove(&backend)
            && let Ok(hop) = &watched.hop
            && let Some(end) = hop.end()
        {
            self.ends.leave(&end, &backend);
        }
    }

    /// Looks at the route to every backend anew, and at every neighbour.
    pub(super) fn look(&mut self, kernel: &mut impl Kernel, now: Instant) {
        let all: Vec<_> = self.watched.keys().copied().collect();
        self.find(kernel, &all, now);
        self.read_neighbours(kernel, now);
        let took = now.elapsed();
        self.look = Some(now + LOOK.max(took * LOOK_SHARE));
    }

    /// Takes in what the kernel has noticed of a neighbour.
    pub(super) fn heard(&mut self, neighbour: &Neighbour, now: Instant) {
        let end = (neighbour.ifindex, neighbour.address);
        self.ends.learn(&end, neighbour.state, now);
    }

    /// Asks whom it is time to ask.
    pub(super) fn tick(&mut self, kernel: &mut impl Kernel, now: Instant) {
        if self.look.is_some_and(|look| now >= look) {
            self.look(kernel, now);
        }
        self.ends.tick(kernel, now);
        self.ticked = Some(now);
    }

    /// What has become known since the last call. A way that is found or lost is told
    /// at once, another reason for having none every [`EXPLAIN`].
    pub(super) fn news(&mut self) -> Vec<(BackendIndex, Result<Adjacency, Unreachable>)> {
        let mut news = Vec::new();
        let mut touched = self.ends.touched();
        let explains = self.explain <= self.ticked;
        if explains {
            touched.append(&mut self.unexplained);
        }
        for backend in touched {
            let Some(watched) = self.watched.get_mut(&backend) else {
                continue;
            };
            let Some(adjacency) = adjacency(&watched.hop, &self.ends) else {
                continue;
            };
            if watched.told.as_ref() == Some(&adjacency) {
                continue;
            }
            if matches!((&watched.told, &adjacency), (Some(Err(_)), Err(_))) {
                if !explains {
                    self.unexplained.insert(backend);
                    continue;
                }
                self.explain = self.ticked.map(|now| now + EXPLAIN);
            }
            watched.told = Some(adjacency.clone());
            news.push((backend, adjacency));
        }
        news
    }

    /// Looks up where these backends are, and asks for neighbours of whom
    /// nothing is known.
    fn find(&mut self, kernel: &mut impl Kernel, backends: &[BackendIndex], now: Instant) {
        let mut hops: BTreeMap<IpAddr, Result<Hop, Unreachable>> = BTreeMap::new();
        let mut new = BTreeSet::new();
        for backend in backends {
            let Some(to) = self.watched.get(backend).map(|watched| watched.address) else {
                continue;
            };
            let hop = hops.entry(to).or_insert_with(|| match kernel.route(to) {
                Ok(route) => self.hop(to, &route),
                Err(error) => Err(Unreachable::NoRoute {
                    to,
                    reason: error.to_string(),
                }),
            });
            let Some(watched) = self.watched.get_mut(backend) else {
                continue;
            };
            let old = std::mem::replace(&mut watched.hop, hop.clone());
            let end = |hop: &Result<Hop, Unreachable>| hop.as_ref().ok().and_then(Hop::end);
            let (before, after) = (end(&old), end(hop));
            if before != after {
                if let Some(before) = before {
                    self.ends.leave(&before, backend);
                }
                if let Some(after) = after
                    && self.ends.join(after, *backend, now)
                {
                    new.insert(after);
                }
            }
            self.ends.touch(*backend);
        }
        if new.len() > FEW {
            self.read_neighbours(kernel, now);
        } else {
            for end in &new {
                if let Ok(state) = kernel.neighbour(end.0, end.1) {
                    self.ends.learn(end, state, now);
                }
            }
        }
        for end in new {
            self.ends.ask_now(end, kernel, now);
        }
    }

    fn read_neighbours(&mut self, kernel: &mut impl Kernel, now: Instant) {
        // Without an answer there is nothing new; it is asked for again.
        for neighbour in kernel.neighbours().unwrap_or_default() {
            self.heard(&neighbour, now);
        }
    }

    fn hop(&self, to: IpAddr, route: &Route) -> Result<Hop, Unreachable> {
        match route.kind {
            RouteKind::Unicast => {}
            RouteKind::Local => return Err(Unreachable::Local(to)),
            RouteKind::Other => return Err(Unreachable::NotUnicast(to)),
        }
        let ifindex = route.ifindex.ok_or(Unreachable::NotUnicast(to))?;
        let interface = self.name_of(ifindex);
        let link = self
            .links
            .get(&ifindex)
            .filter(|link| self.served.contains(&link.name));
        let Some(link) = link else {
            return Err(Unreachable::NotServed { to, interface });
        };
        if link.mac.is_none() && !link.bare {
            return Err(Unreachable::NotEthernet { to, interface });
        }
        let source = route.source.filter(|s| s.is_ipv4() == to.is_ipv4());
        let Some(source) = source else {
            return Err(Unreachable::NoSource { to, interface });
        };
        let mtu = route.mtu.filter(|mtu| *mtu > 0).unwrap_or(link.mtu);
        Ok(Hop {
            ifindex,
            interface,
            neighbour: route.gateway.unwrap_or(to),
            from: link.mac,
            source,
            mtu: u16::try_from(mtu).unwrap_or(u16::MAX),
        })
    }
}

/// `None` while there is neither an answer nor the lack of one.
fn adjacency(
    hop: &Result<Hop, Unreachable>,
    ends: &Ends<BackendIndex>,
) -> Option<Result<Adjacency, Unreachable>> {
    let hop = match hop {
        Ok(hop) => hop,
        Err(reason) => return Some(Err(reason.clone())),
    };
    let by = |to| Adjacency {
        ifindex: hop.ifindex,
        to,
        from: hop.from.unwrap_or_default(),
        source: hop.source,
        mtu: hop.mtu,
        bare: hop.from.is_none(),
    };
    let Some(end) = hop.end() else {
        return Some(Ok(by(Mac::default())));
    };
    match ends.is(&end) {
        Is::There(to) => Some(Ok(by(to))),
        Is::Silent => Some(Err(Unreachable::Silent {
            neighbour: hop.neighbour,
            interface: hop.interface.clone(),
        })),
        Is::Unasked => Some(Err(Unreachable::Unasked {
            neighbour: hop.neighbour,
            interface: hop.interface.clone(),
        })),
        Is::Unknown => None,
    }
}

#[cfg(test)]
mod tests;
