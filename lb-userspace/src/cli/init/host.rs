//! What this host is like, as far as its first configuration file says.

use std::{io, net::IpAddr};

use crate::netlink::{Address, Netlink};

/// What there is to serve on, and who is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) interfaces: Vec<Interface>,
    /// Hosts that this one has spoken to, each with its interface's name.
    pub(super) neighbours: Vec<(IpAddr, String)>,
}

/// An interface that is up and has addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    pub(super) name: String,
    /// Each with the length of its network's prefix.
    pub(super) addresses: Vec<(IpAddr, u8)>,
}

/// Asks the kernel.
pub(super) fn look() -> io::Result<Found> {
    let mut netlink = Netlink::open()?;
    let addresses = netlink.addresses()?;
    let mut found = Found::default();
    for link in netlink.links()? {
        let own: Vec<(IpAddr, u8)> = addresses
            .iter()
            .filter(|address| address.link == link.index && reachable(address))
            .map(|address| (address.address, address.prefix))
            .collect();
        if link.loopback || !link.up || own.is_empty() {
            continue;
        }
        for neighbour in netlink.hosts(link.index)? {
            found.neighbours.push((neighbour, link.name.clone()));
        }
        found.interfaces.push(Interface {
            name: link.name,
            addresses: own,
        });
    }
    found.neighbours.sort();
    Ok(found)
}

/// Not one that only the link itself knows.
fn reachable(address: &Address) -> bool {
    match address.address {
        IpAddr::V4(v4) => !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_unicast_link_local(),
    }
}
