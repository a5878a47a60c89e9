//! The kernel's notices of what changed.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::{
    ask::{BUFFER, messages},
    neighbour::{Neighbour, NeighbourIs, neighbour},
};

/// A notice that something changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// An interface came, went or changed.
    Links,
    /// A route or one of the host's addresses.
    Routes,
    Neighbour(Neighbour),
    /// Notices were lost: look at everything again.
    Lost,
}

/// Hears the kernel's notices.
pub struct Notices {
    socket: Socket,
    buffer: Vec<u8>,
}

/// Groups of linux/rtnetlink.h: of interfaces and their addresses, and besides these of
/// routes and neighbours.
const ADDRESSES: [u32; 3] = [
    1, // RTNLGRP_LINK
    5, // RTNLGRP_IPV4_IFADDR
    9, // RTNLGRP_IPV6_IFADDR
];
const ROUTES: [u32; 3] = [
    3,  // RTNLGRP_NEIGH
    7,  // RTNLGRP_IPV4_ROUTE
    11, // RTNLGRP_IPV6_ROUTE
];

/// Room for the notices of some thousand neighbours at once, a kilobyte each.
const RECEIVE_BUFFER: usize = 8 << 20;

impl Notices {
    /// Of interfaces, addresses, routes and neighbours.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn of_all() -> io::Result<Self> {
        Self::of(ADDRESSES.into_iter().chain(ROUTES))
    }

    /// Of interfaces and their addresses.
    ///
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn of_addresses() -> io::Result<Self> {
        Self::of(ADDRESSES)
    }

    fn of(groups: impl IntoIterator<Item = u32>) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        // Beyond the host's limit for all, as far as our rights go.
        if set_socket_recv_buffer_size_force(socket.as_fd(), RECEIVE_BUFFER).is_err() {
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
        }
        for group in groups {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Whether anything has come in: whoever wants to know what looks at the host. What
    /// cannot be heard any more is news as well.
    pub fn any(&mut self) -> bool {
        self.read().map_or(true, |notices| !notices.is_empty())
    }

    /// What has come in so far.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn read(&mut self) -> io::Result<Vec<Notice>> {
        let mut notices = Vec::new();
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(notices),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // The kernel had more to say than there was room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    notices.push(Notice::Lost);
                    continue;
                }
                Err(error) => return Err(error),
            }
            for message in messages(&self.buffer) {
                match message {
                    Ok(message) => {
                        if let NetlinkPayload::InnerMessage(inner) = message.payload {
                            notices.extend(notice(&inner));
                        }
                    }
                    // Something newer than the parser; what it was about is
                    // found by looking.
                    Err(_) => notices.push(Notice::Lost),
                }
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn notice(message: &Message) -> Option<Notice> {
    match message {
        Message::NewLink(_) | Message::DelLink(_) => Some(Notice::Links),
        Message::NewRoute(_)
        | Message::DelRoute(_)
        | Message::NewAddress(_)
        | Message::DelAddress(_) => Some(Notice::Routes),
        Message::NewNeighbour(message) => neighbour(message).map(Notice::Neighbour),
        Message::DelNeighbour(message) => neighbour(message).map(|n| {
            Notice::Neighbour(Neighbour {
                state: NeighbourIs::Unknown,
                ..n
            })
        }),
        _ => None,
    }
}
