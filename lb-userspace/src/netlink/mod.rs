//! Everything that speaks netlink: the rest of the house has its facts and words,
//! and sees no message.
//!
//! - [`ask`]: a question and its answers, in any of netlink's protocols;
//! - [`link`], [`address`], [`route`], [`neighbour`]: what the host has (rtnetlink),
//!   each with its questions and what an answer says; [`Netlink`] asks them;
//! - [`notices`]: what the kernel tells of itself when that changes;
//! - [`owner`]: whose a connection within the host is (`sock_diag`).
//!
//! Of the network namespace that the thread is in, unlike `/sys/class/net`,
//! which shows that of whoever mounted it.

mod address;
mod ask;
mod link;
mod neighbour;
mod notices;
pub(crate) mod owner;
mod route;

use std::{io, net::IpAddr};

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage as Message;

use self::ask::Asker;
pub use self::{
    address::Address,
    link::{Link, LinkKind, XdpAttached},
    neighbour::{Neighbour, NeighbourIs},
    notices::{Notice, Notices},
    route::{Hop, HostRoute, Prefix, Route, RouteKind},
};

/// A socket to rtnetlink. Calls block, for as long as the kernel needs.
pub struct Netlink(Asker);

impl Netlink {
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn open() -> io::Result<Self> {
        Asker::open().map(Self)
    }

    /// # Errors
    /// When the kernel does not answer.
    pub fn links(&mut self) -> io::Result<Vec<Link>> {
        let answers = self.0.ask(link::question(), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(link::link).collect())
    }

    /// Has IPv4 take packets by a link that come from an address of the host's own, which
    /// is what the answers to the host's own clients look like.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn accept_local(&mut self, link: u32) -> io::Result<()> {
        let message = Message::SetLink(link::accepts_local(link));
        self.0.ask(message, NLM_F_ACK).map(drop)
    }

    /// # Errors
    /// When the kernel does not answer.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let answers = self.0.ask(address::question(), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(address::address).collect())
    }

    /// Puts an address on a link, for one host: no route comes with it, and
    /// IPv6 does not wait to see whether somebody else has it, nor uses it for
    /// the host's own connections.
    ///
    /// # Errors
    /// When the kernel refuses; `AlreadyExists` if it is there.
    pub fn add_address(&mut self, link: u32, address: IpAddr) -> io::Result<()> {
        let message = Message::NewAddress(address::new(link, address));
        let flags = NLM_F_CREATE | NLM_F_EXCL | NLM_F_ACK;
        self.0.ask(message, flags).map(drop)
    }

    /// # Errors
    /// When the kernel refuses; `AddrNotAvailable` if it is not there.
    pub fn remove_address(&mut self, link: u32, address: IpAddr) -> io::Result<()> {
        let message = Message::DelAddress(address::about(link, address));
        self.0.ask(message, NLM_F_ACK).map(drop)
    }

    /// Where a packet to this address would be sent.
    ///
    /// # Errors
    /// When there is no route, or the kernel does not answer.
    pub fn route(&mut self, to: IpAddr) -> io::Result<Route> {
        let answers = self.0.ask(route::question(to), 0)?;
        answers.iter().find_map(route::route).ok_or_else(no_answer)
    }

    /// The routes of the main table.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn host_routes(&mut self) -> io::Result<Vec<HostRoute>> {
        let answers = self.0.ask(route::question_for_all(), NLM_F_DUMP)?;
        Ok(answers.iter().filter_map(route::host_route).collect())
    }

    /// # Errors
    /// When the kernel does not answer.
    pub fn neighbour(&mut self, ifindex: u32, address: IpAddr) -> io::Result<NeighbourIs> {
        let question = Message::GetNeighbour(neighbour::about(ifindex, address));
        let answers = match self.0.ask(question, 0) {
            Ok(answers) => answers,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                return Ok(NeighbourIs::Unknown);
            }
            Err(error) => return Err(error),
        };
        answers
            .iter()
            .find_map(|answer| match answer {
                Message::NewNeighbour(message) => neighbour::neighbour(message),
                _ => None,
            })
            .map(|n| n.state)
            .ok_or_else(no_answer)
    }

    /// All neighbours that the kernel knows.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        let answers = self.0.ask(neighbour::question(), NLM_F_DUMP)?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewNeighbour(message) => neighbour::neighbour(message),
                _ => None,
            })
            .collect())
    }

    /// Who is known to be behind a link, and to answer.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn hosts(&mut self, link: u32) -> io::Result<Vec<IpAddr>> {
        let answers = self.0.ask(neighbour::question(), NLM_F_DUMP)?;
        Ok(answers
            .iter()
            .filter_map(|answer| match answer {
                Message::NewNeighbour(message) if message.header.ifindex == link => {
                    neighbour::host(message)
                }
                _ => None,
            })
            .collect())
    }

    /// Makes the kernel find out, or confirm, who has this address, as if it had
    /// a packet for it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        let message = Message::NewNeighbour(neighbour::wanted(ifindex, address));
        self.0.ask(message, NLM_F_CREATE | NLM_F_ACK).map(drop)
    }
}

fn no_answer() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel's answer does not say what was asked",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_and_its_address_are_found() {
        let mut netlink = Netlink::open().unwrap();
        let links = netlink.links().unwrap();
        let lo = links.iter().find(|link| link.loopback).unwrap();
        assert_eq!((lo.index, lo.name.as_str()), (1, "lo"));
        assert_eq!(lo.mac, None, "loopback is not Ethernet");
        let addresses = netlink.addresses().unwrap();
        let home = addresses
            .iter()
            .find(|address| address.link == lo.index && address.address.is_ipv4());
        assert_eq!(home.is_some(), lo.up, "{addresses:?}");
    }
}
