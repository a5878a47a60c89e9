//! Rules that no load balancer can be checked against alone.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    invalid::Invalid,
    values::{BackendId, LbName},
};
use crate::model::{ListenerKey, Mode};

/// What has been seen so far. Everything goes in one by one, so that whoever
/// asks knows which item was one too many.
#[derive(Debug, Default)]
pub struct Together {
    listeners: BTreeMap<ListenerKey, LbName>,
    vips: BTreeMap<IpAddr, LbName>,
    /// Any backend at the address.
    backends: BTreeMap<IpAddr, LbName>,
    in_lb: BTreeMap<(LbName, IpAddr), BackendId>,
    families: BTreeMap<LbName, IpAddr>,
}

impl Together {
    /// There is that listener already, and it is in order.
    pub fn has_listener(&mut self, key: ListenerKey, lb: &LbName) {
        self.listeners.insert(key, lb.clone());
    }

    /// There is a listener at the address already, and it is in order.
    pub fn has_vip(&mut self, address: IpAddr, lb: &LbName) {
        self.vips.insert(address, lb.clone());
    }

    /// There is a backend at the address already, and it is in order.
    pub fn has_backend(&mut self, address: IpAddr, lb: &LbName) {
        self.backends.insert(address, lb.clone());
    }

    /// # Errors
    /// When the listener is taken, its address is a backend's, or it is of
    /// another address family than the rest of its load balancer.
    pub fn listener(&mut self, lb: &LbName, mode: Mode, key: ListenerKey) -> Result<(), Invalid> {
        match self.listeners.get(&key) {
            Some(other) if other == lb => {
                return Err(Invalid::ListenerTwice {
                    lb: lb.to_string(),
                    listener: key.to_string(),
                });
            }
            Some(other) => {
                return Err(Invalid::ListenerTaken {
                    lb: lb.to_string(),
                    listener: key.to_string(),
                    other: other.to_string(),
                });
            }
            None => {}
        }
        if let Some(other) = self.backends.get(&key.address) {
            return Err(Invalid::VipIsBackend {
                address: key.address,
                lb: other.to_string(),
            });
        }
        self.family(lb, mode, key.address)?;
        self.listeners.insert(key, lb.clone());
        self.vips.entry(key.address).or_insert_with(|| lb.clone());
        Ok(())
    }

    /// # Errors
    /// When the address is a VIP, another backend of the load balancer has it,
    /// or it is of another address family than the rest of its load balancer.
    pub fn backend(
        &mut self,
        lb: &LbName,
        mode: Mode,
        id: &BackendId,
        address: IpAddr,
    ) -> Result<(), Invalid> {
        if let Some(other) = self.vips.get(&address) {
            return Err(Invalid::BackendIsVip {
                address,
                lb: other.to_string(),
            });
        }
        if let Some(other) = self.in_lb.get(&(lb.clone(), address)) {
            return Err(Invalid::AddressTwice {
                lb: lb.to_string(),
                id: id.to_string(),
                other: other.to_string(),
                address,
            });
        }
        self.family(lb, mode, address)?;
        self.backends.entry(address).or_insert_with(|| lb.clone());
        self.in_lb.insert((lb.clone(), address), id.clone());
        Ok(())
    }

    /// A backend that takes no new flows any more: another id may have its
    /// address already, but no listener.
    ///
    /// # Errors
    /// When the address is a VIP.
    pub fn leaving(&mut self, lb: &LbName, address: IpAddr) -> Result<(), Invalid> {
        if let Some(other) = self.vips.get(&address) {
            return Err(Invalid::BackendIsVip {
                address,
                lb: other.to_string(),
            });
        }
        self.backends.entry(address).or_insert_with(|| lb.clone());
        Ok(())
    }

    /// A tunnel can carry one family in the other; the other modes cannot.
    fn family(&mut self, lb: &LbName, mode: Mode, address: IpAddr) -> Result<(), Invalid> {
        if mode.tunnels() {
            return Ok(());
        }
        let first = *self.families.entry(lb.clone()).or_insert(address);
        if first.is_ipv4() == address.is_ipv4() {
            Ok(())
        } else {
            Err(Invalid::MixedFamilies {
                lb: lb.to_string(),
                address,
                family: family(address),
                other: family(first),
                mode: mode.name(),
            })
        }
    }
}

fn family(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}
