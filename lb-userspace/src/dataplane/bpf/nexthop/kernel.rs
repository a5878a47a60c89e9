//! Whom to ask about routes and neighbours: the kernel, and in tests a fake.

use std::{io, net::IpAddr};

use crate::netlink::{Neighbour, NeighbourIs, Netlink, Route};

/// Whom to ask about routes and neighbours.
pub(super) trait Kernel {
    fn route(&mut self, to: IpAddr) -> io::Result<Route>;
    fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> io::Result<NeighbourIs>;
    /// All that there are.
    fn neighbours(&mut self) -> io::Result<Vec<Neighbour>>;
    fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()>;
}

impl Kernel for Netlink {
    fn route(&mut self, to: IpAddr) -> io::Result<Route> {
        self.route(to)
    }
    fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> io::Result<NeighbourIs> {
        self.neighbour(ifindex, address)
    }
    fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        self.neighbours()
    }
    fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        self.solicit(ifindex, address)
    }
}
