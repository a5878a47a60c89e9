//! A TCP address that is listened on.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpStream};

/// The listener and where it is.
#[derive(Debug)]
pub(super) struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// When the address is taken, or is none of this host's.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// The port is known even if any was asked for.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.listener.accept().await?;
        // An answer is one write, and should not wait for more.
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}
