//! VIPs on interfaces: who puts them there and takes them away again.
//!
//! Only addresses that ebb added are ever taken away, so it remembers which
//! they are. In what order, so that a crash leaves none behind: the place of an
//! address is decided and stored first, then it is added; it is removed first,
//! then forgotten. Both steps can be done twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    announce::Announcer,
    model::mac_text,
    netlink::{Address, Link, Netlink, Notices},
};

#[derive(Debug, thiserror::Error)]
pub enum VipError {
    #[error("cannot {action}: {source}")]
    Netlink {
        action: String,
        #[source]
        source: io::Error,
    },
    #[error("none of ebb's interfaces ({interfaces}) is there to put {address} on")]
    NoInterface { address: IpAddr, interfaces: String },
}

/// Puts addresses on interfaces. Calls block.
pub trait VipKeeper: Send {
    /// The interface that each of the addresses should be on, but for those
    /// that the host has already: they are not ours and are left alone.
    ///
    /// # Errors
    /// When the kernel cannot be asked, or there is no such interface.
    fn place(&mut self, addresses: &[IpAddr]) -> Result<Vec<(IpAddr, String)>, VipError>;

    /// Whether the host's interfaces or addresses may have changed since this
    /// was asked last. Does not block.
    fn has_news(&mut self) -> bool;

    /// Those of the addresses that are on no interface.
    ///
    /// # Errors
    /// When the kernel cannot be asked.
    fn missing(&mut self, addresses: &[IpAddr]) -> Result<BTreeSet<IpAddr>, VipError>;

    /// The addresses that another host on the link has as well, with its MAC
    /// address, as far as was heard. Does not block.
    fn rivals(&mut self) -> BTreeMap<IpAddr, String>;

    /// Puts the address there. One that is there already is no error.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn add(&mut self, address: IpAddr, interface: &str) -> Result<(), VipError>;

    /// Takes the address away. One that is not there is no error, nor is an
    /// interface that is not.
    ///
    /// # Errors
    /// When the kernel refuses.
    fn remove(&mut self, address: IpAddr, interface: &str) -> Result<(), VipError>;
}

/// Puts VIPs on ebb's own interfaces.
pub struct NetlinkKeeper {
    netlink: Netlink,
    notices: Notices,
    announcer: Announcer,
    interfaces: Vec<String>,
}

impl NetlinkKeeper {
    /// # Errors
    /// When the kernel refuses a socket.
    pub fn open(interfaces: Vec<String>) -> Result<Self, VipError> {
        let netlink = Netlink::open().map_err(failed("ask for the host's interfaces"))?;
        let notices = Notices::of_addresses().map_err(failed("listen for changes of addresses"))?;
        let announcer = Announcer::start().map_err(failed("open a socket to announce VIPs by"))?;
        Ok(Self {
            netlink,
            notices,
            announcer,
            interfaces,
        })
    }

    /// The hosts on the link may know the address as another one's, and another one
    /// may have it. The loopback has no neighbours.
    fn is_here(&self, link: &Link, address: IpAddr, is_new: bool) {
        if let Some(mac) = link.mac.filter(|_| !link.loopback) {
            self.announcer.is_here(link.index, mac, address, is_new);
        }
    }

    fn links(&mut self) -> Result<Vec<Link>, VipError> {
        let links = self
            .netlink
            .links()
            .map_err(failed("ask for the host's interfaces"))?;
        self.announcer
            .are_own(links.iter().filter_map(|link| link.mac));
        Ok(links)
    }
}

fn failed(action: impl Into<String>) -> impl FnOnce(io::Error) -> VipError {
    let action = action.into();
    move |source| VipError::Netlink { action, source }
}

impl VipKeeper for NetlinkKeeper {
    fn place(&mut self, addresses: &[IpAddr]) -> Result<Vec<(IpAddr, String)>, VipError> {
        let present = self
            .netlink
            .addresses()
            .map_err(failed("ask for the host's addresses"))?;
        let there: BTreeSet<IpAddr> = present.iter().map(|there| there.address).collect();
        // A VIP of ours stands for no network: what matters are the others.
        let networks: Vec<Address> = present
            .into_iter()
            .filter(|there| there.prefix < bits(there.address))
            .collect();
        let links = self.links()?;
        let ours = || {
            self.interfaces
                .iter()
                .filter_map(|name| links.iter().find(|link| link.name == *name))
        };
        addresses
            .iter()
            .filter(|address| !there.contains(address))
            .map(|address| match nearest(*address, ours(), &networks) {
                Some(link) => Ok((*address, link.name.clone())),
                None => Err(VipError::NoInterface {
                    address: *address,
                    interfaces: self.interfaces.join(", "),
                }),
            })
            .collect()
    }

    fn has_news(&mut self) -> bool {
        self.notices.any()
    }

    fn missing(&mut self, addresses: &[IpAddr]) -> Result<BTreeSet<IpAddr>, VipError> {
        let present = self
            .netlink
            .addresses()
            .map_err(failed("ask for the host's addresses"))?;
        let mut missing: BTreeSet<IpAddr> = addresses.iter().copied().collect();
        for there in present {
            missing.remove(&there.address);
        }
        Ok(missing)
    }

    fn add(&mut self, address: IpAddr, interface: &str) -> Result<(), VipError> {
        let links = self.links()?;
        let Some(link) = links.iter().find(|link| link.name == interface) else {
            return Err(VipError::NoInterface {
                address,
                interfaces: interface.to_owned(),
            });
        };
        match self.netlink.add_address(link.index, address) {
            Ok(()) => self.is_here(link, address, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.is_here(link, address, false);
            }
            Err(error) => return Err(failed(format!("put {address} on {interface}"))(error)),
        }
        Ok(())
    }

    fn rivals(&mut self) -> BTreeMap<IpAddr, String> {
        let rivals = self.announcer.rivals().into_iter();
        rivals.map(|(ip, mac)| (ip, mac_text(mac))).collect()
    }

    fn remove(&mut self, address: IpAddr, interface: &str) -> Result<(), VipError> {
        self.announcer.is_gone(address);
        let links = self.links()?;
        let Some(link) = links.iter().find(|link| link.name == interface) else {
            return Ok(());
        };
        match self.netlink.remove_address(link.index, address) {
            Err(error) if error.kind() != io::ErrorKind::AddrNotAvailable => {
                Err(failed(format!("take {address} from {interface}"))(error))
            }
            _ => Ok(()),
        }
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Of our links, the one whose network the address is in; the narrowest, if
/// several are; the first link, if none is.
fn nearest<'a>(
    address: IpAddr,
    ours: impl Iterator<Item = &'a Link>,
    present: &[Address],
) -> Option<&'a Link> {
    let narrowest = |link: &Link| {
        present
            .iter()
            .filter(|there| there.link == link.index && contains(there, address))
            .map(|there| there.prefix + 1)
            .max()
            .unwrap_or(0)
    };
    // `max_by_key` takes the last of equals; the first is wanted.
    let mut best: Option<(&Link, u8)> = None;
    for link in ours {
        let prefix = narrowest(link);
        if best.is_none_or(|(_, most)| prefix > most) {
            best = Some((link, prefix));
        }
    }
    best.map(|(link, _)| link)
}

/// Whether the address is in the network of one that is there.
fn contains(there: &Address, address: IpAddr) -> bool {
    match (there.address, address) {
        (IpAddr::V4(there_is), IpAddr::V4(address)) => {
            let mask = u32::MAX
                .checked_shl(Ipv4Addr::BITS - u32::from(there.prefix))
                .unwrap_or(0);
            u32::from(there_is) & mask == u32::from(address) & mask
        }
        (IpAddr::V6(there_is), IpAddr::V6(address)) => {
            let mask = u128::MAX
                .checked_shl(Ipv6Addr::BITS - u32::from(there.prefix))
                .unwrap_or(0);
            u128::from(there_is) & mask == u128::from(address) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::LinkKind;

    fn link(index: u32, name: &str) -> Link {
        Link {
            index,
            name: name.to_owned(),
            up: true,
            loopback: false,
            mac: None,
            mtu: 1500,
            kind: LinkKind::Other,
            xdp: None,
            bare: false,
        }
    }

    fn there(link: u32, address: &str, prefix: u8) -> Address {
        Address {
            link,
            address: address.parse().unwrap(),
            prefix,
        }
    }

    #[test]
    fn a_vip_goes_to_the_interface_whose_network_it_is_in() {
        let links = [link(1, "eth0"), link(2, "eth1"), link(3, "eth2")];
        let present = [
            there(1, "10.0.0.1", 24),
            there(2, "10.0.1.1", 16),
            there(3, "10.0.1.2", 24),
            there(3, "fd00::1", 64),
        ];
        let place = |address: &str| {
            let address = address.parse().unwrap();
            nearest(address, links.iter(), &present)
                .unwrap()
                .name
                .clone()
        };
        assert_eq!(place("10.0.0.100"), "eth0");
        assert_eq!(place("10.0.1.100"), "eth2", "the narrowest");
        assert_eq!(place("10.0.9.100"), "eth1");
        assert_eq!(place("fd00::100"), "eth2");
        assert_eq!(place("192.0.2.1"), "eth0", "else the first");
        let nowhere = nearest("192.0.2.1".parse().unwrap(), [].iter(), &present);
        assert_eq!(nowhere, None);
    }

    #[test]
    fn a_network_of_no_bits_holds_everything() {
        let all = there(1, "0.0.0.0", 0);
        assert!(contains(&all, "203.0.113.9".parse().unwrap()));
        let one = there(1, "10.0.0.1", 32);
        assert!(contains(&one, "10.0.0.1".parse().unwrap()));
        assert!(!contains(&one, "10.0.0.2".parse().unwrap()));
    }
}
