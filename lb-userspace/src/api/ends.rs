//! The two ends of a TCP connection.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;

use super::party::Party;
use crate::netlink::owner::owner;

/// An extension of every request by TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ends {
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    /// Our socket's, which no other has while this one is open.
    pub(super) inode: u64,
}

impl Ends {
    pub(super) fn of(stream: &TcpStream) -> io::Result<Self> {
        Ok(Self {
            peer: stream.peer_addr()?,
            local: stream.local_addr()?,
            inode: rustix::fs::fstat(stream)?.st_ino,
        })
    }

    /// Who is at the other end: within this host a user, as far as that can be told.
    pub(super) fn party(self) -> Party {
        let Self { peer, local, inode } = self;
        if peer.ip().to_canonical().is_loopback()
            && let Ok(uid) = owner(peer, local, inode)
        {
            return Party::user(uid);
        }
        Party::at(peer.ip())
    }
}
