//! Who puts a VIP on an interface and takes it away again.

use std::{io, net::IpAddr};

#[derive(Debug, thiserror::Error)]
pub enum VipError {
    #[error("{action} {address} on {interface} failed: {source}")]
    Netlink {
        action: &'static str,
        address: IpAddr,
        interface: String,
        source: io::Error,
    },
}

/// Puts addresses on interfaces. Calls block.
pub trait VipKeeper: Send {
    /// Puts `address` on the interface that should have it and says which one
    /// that is. `Ok(None)` when the host had the address already: such a one is
    /// not ours and is never taken away.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn add(&mut self, address: IpAddr) -> Result<Option<String>, VipError>;

    /// Takes away an address that [`VipKeeper::add`] put there. One that is
    /// not there any more is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn remove(&mut self, address: IpAddr, interface: &str) -> Result<(), VipError>;
}
