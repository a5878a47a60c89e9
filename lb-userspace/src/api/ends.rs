//! The two ends of a TCP connection.

use std::{io, net::SocketAddr};

use tokio::net::TcpStream;

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
}
