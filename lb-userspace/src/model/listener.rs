//! What clients connect to.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// What clients connect to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerKey {
    pub protocol: Protocol,
    pub address: IpAddr,
    pub port: u16,
}

impl Protocol {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `tcp 10.0.0.100:80`, `udp [fd00::1]:53`.
impl fmt::Display for ListenerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let socket = SocketAddr::new(self.address, self.port);
        write!(f, "{} {socket}", self.protocol.name())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a listener is written like `tcp 10.0.0.100:80`")]
pub struct NotAListener;

impl FromStr for ListenerKey {
    type Err = NotAListener;

    fn from_str(text: &str) -> Result<Self, NotAListener> {
        let (protocol, socket) = text.split_once(' ').ok_or(NotAListener)?;
        let protocol = match protocol {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            _ => return Err(NotAListener),
        };
        let socket: SocketAddr = socket.parse().map_err(|_| NotAListener)?;
        Ok(Self {
            protocol,
            address: socket.ip(),
            port: socket.port(),
        })
    }
}
