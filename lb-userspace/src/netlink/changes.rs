//! Whether the host's interfaces or addresses have changed.

use std::io;

use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use super::ask::BUFFER;

/// Groups from linux/rtnetlink.h.
const GROUPS: [u32; 3] = [
    1, // RTNLGRP_LINK
    5, // RTNLGRP_IPV4_IFADDR
    9, // RTNLGRP_IPV6_IFADDR
];

/// So many notices are read at a time; those that are left are news again.
const AT_ONCE: usize = 1024;

/// Hears that something changed, not what: whoever wants to know looks.
pub struct Changes {
    socket: Socket,
    buffer: Vec<u8>,
}

impl Changes {
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.set_non_blocking(true)?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// Whether there was a change since this was asked last. Does not block.
    pub fn any(&mut self) -> bool {
        let mut news = false;
        for _ in 0..AT_ONCE {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => news = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return news,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // More than there was room for (ENOBUFS), or what nobody can
                // tell: look.
                Err(_) => return true,
            }
        }
        true
    }
}
