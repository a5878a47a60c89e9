//! VIPs, listeners and nat sources in the kernel's tables.
//!
//! A listener that was removed takes no new flows from that moment, but the flows
//! that came by it still name it: its row says what their replies are made to
//! come from. So a removed listener is only *retired*; its index is used again
//! once the sweeper has walked all tables and met no flow that names it. The
//! same goes for nat sources. The rows in the kernel are the memory of this,
//! over a restart too.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        vip::{FILTER_BITS, Filter, Listener, NAT_SOURCE, VIP_ITSELF, VipKey, filter_bit},
    },
    wire,
};

use super::{
    maps::{Family, Maps},
    table::TableError,
};
use crate::dataplane::{DataplaneError, ListenerKey, ListenerView, Protocol};

pub(super) fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => wire::TCP,
        Protocol::Udp => wire::UDP,
    }
}

pub(super) fn protocol_of(number: u32) -> Option<Protocol> {
    match u8::try_from(number) {
        Ok(wire::TCP) => Some(Protocol::Tcp),
        Ok(wire::UDP) => Some(Protocol::Udp),
        _ => None,
    }
}

/// A listener by the index that flows know it by, and its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ListenerId {
    pub(super) v6: bool,
    pub(super) index: u16,
}

#[derive(Debug)]
struct Entry {
    index: u16,
    live: bool,
}

/// What the kernel has been told about addresses.
#[derive(Default)]
pub(super) struct Vips {
    listeners: BTreeMap<ListenerKey, Entry>,
    nat_sources: BTreeSet<IpAddr>,
}

impl Vips {
    /// What an earlier agent left.
    pub(super) fn recover(maps: &Maps) -> Result<Self, TableError> {
        let mut vips = Self::default();
        vips.recover_family::<Addr4>(maps)?;
        vips.recover_family::<Addr6>(maps)?;
        Ok(vips)
    }

    fn recover_family<A: Family>(&mut self, maps: &Maps) -> Result<(), TableError> {
        let family = A::maps(maps);
        let mut live = BTreeSet::new();
        family.vips.each(|key, value| {
            match *value {
                NAT_SOURCE => drop(self.nat_sources.insert(key.address.into())),
                VIP_ITSELF => {}
                index => drop(live.insert(index)),
            };
        })?;
        family.listeners.each(|index, row| {
            let protocol = protocol_of(u32::from(row.protocol));
            // A row of zeros is nobody's.
            if let (Some(protocol), Ok(index)) = (protocol, u16::try_from(*index)) {
                let key = ListenerKey {
                    protocol,
                    address: row.address.into(),
                    port: u16::from_be(row.port),
                };
                let live = live.contains(&u32::from(index));
                self.listeners.insert(key, Entry { index, live });
            }
        })
    }

    /// The listeners that take new flows.
    pub(super) fn live(&self) -> impl Iterator<Item = ListenerKey> {
        let entries = self.listeners.iter();
        entries.filter(|(_, e)| e.live).map(|(key, _)| *key)
    }

    /// The listeners that were removed, but that flows may still name.
    pub(super) fn retired(&self) -> BTreeSet<ListenerId> {
        let entries = self.listeners.iter();
        entries
            .filter(|(_, e)| !e.live)
            .map(|(key, e)| id(key, e.index))
            .collect()
    }

    pub(super) fn put(&mut self, maps: &Maps, view: &ListenerView) -> Result<(), DataplaneError> {
        match view.key.address {
            IpAddr::V4(address) => self.put_family::<Addr4>(maps, view, address.into()),
            IpAddr::V6(address) => self.put_family::<Addr6>(maps, view, address.into()),
        }
    }

    fn put_family<A: Family>(
        &mut self,
        maps: &Maps,
        view: &ListenerView,
        address: A,
    ) -> Result<(), DataplaneError> {
        let ListenerView {
            key,
            lb,
            backend_port,
        } = view;
        let family = A::maps(maps);
        let index = match self.listeners.get(key) {
            Some(entry) => entry.index,
            None => self.free_index(A::V6, family.listeners.max_entries())?,
        };
        let row = Listener {
            address,
            port: key.port.to_be(),
            backend_port: backend_port.to_be(),
            lb: *lb,
            protocol: u16::from(protocol_number(key.protocol)),
        };
        // The row first, so that whoever finds the index finds a listener; the
        // entry that leads to it last.
        family.listeners.put(&u32::from(index), &row)?;
        self.listeners.insert(*key, Entry { index, live: true });
        self.write_filter(maps)?;
        self.write_itself(maps, address)?;
        Ok(family.vips.put(&vip_key(key, address), &u32::from(index))?)
    }

    /// Takes a listener away from new flows.
    pub(super) fn remove(&mut self, maps: &Maps, key: &ListenerKey) -> Result<(), TableError> {
        match key.address {
            IpAddr::V4(address) => self.remove_family::<Addr4>(maps, key, address.into()),
            IpAddr::V6(address) => self.remove_family::<Addr6>(maps, key, address.into()),
        }
    }

    fn remove_family<A: Family>(
        &mut self,
        maps: &Maps,
        key: &ListenerKey,
        address: A,
    ) -> Result<(), TableError> {
        A::maps(maps).vips.delete(&vip_key(key, address))?;
        if let Some(entry) = self.listeners.get_mut(key) {
            entry.live = false;
        }
        self.write_itself(maps, address)
    }

    /// No flow names these any more: their indices are free.
    pub(super) fn forget(
        &mut self,
        maps: &Maps,
        forgotten: &BTreeSet<ListenerId>,
    ) -> Result<(), TableError> {
        let gone = self.listeners.extract_if(.., |key, entry| {
            !entry.live && forgotten.contains(&id(key, entry.index))
        });
        let gone: Vec<_> = gone.collect();
        for (key, entry) in &gone {
            let index = u32::from(entry.index);
            match key.address {
                IpAddr::V4(_) => maps.v4.listeners.put(&index, &Listener::default())?,
                IpAddr::V6(_) => maps.v6.listeners.put(&index, &Listener::default())?,
            }
        }
        if gone.is_empty() {
            Ok(())
        } else {
            self.write_filter(maps)
        }
    }

    /// Makes these addresses nat sources, besides those that are already.
    pub(super) fn add_nat_sources(
        &mut self,
        maps: &Maps,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), TableError> {
        for address in addresses {
            if self.nat_sources.insert(address) {
                self.write_filter(maps)?;
                self.write_address(maps, address)?;
            }
        }
        Ok(())
    }

    /// Takes away the nat sources that are neither among `wanted` nor among
    /// `used`.
    pub(super) fn forget_nat_sources(
        &mut self,
        maps: &Maps,
        wanted: &BTreeSet<IpAddr>,
        used: &BTreeSet<IpAddr>,
    ) -> Result<(), TableError> {
        let gone: Vec<_> = self
            .nat_sources
            .extract_if(.., |a| !wanted.contains(a) && !used.contains(a))
            .collect();
        for address in &gone {
            self.write_address(maps, *address)?;
        }
        if gone.is_empty() {
            Ok(())
        } else {
            self.write_filter(maps)
        }
    }

    fn free_index(&self, v6: bool, max_entries: u32) -> Result<u16, DataplaneError> {
        let taken: BTreeSet<_> = self
            .listeners
            .iter()
            .map(|(key, e)| id(key, e.index))
            .collect();
        (0..u16::try_from(max_entries).unwrap_or(u16::MAX))
            .find(|index| !taken.contains(&ListenerId { v6, index: *index }))
            .ok_or_else(|| {
                DataplaneError::Refused(format!(
                    "the kernel's table holds {max_entries} {} listeners and all are taken; those \
                     that were removed count until their last flow has ended",
                    if v6 { "IPv6" } else { "IPv4" }
                ))
            })
    }

    fn write_address(&self, maps: &Maps, address: IpAddr) -> Result<(), TableError> {
        match address {
            IpAddr::V4(a) => self.write_itself::<Addr4>(maps, a.into()),
            IpAddr::V6(a) => self.write_itself::<Addr6>(maps, a.into()),
        }
    }

    /// The entry of an address without a port: a VIP, a nat source, or nothing.
    fn write_itself<A: Family>(&self, maps: &Maps, address: A) -> Result<(), TableError> {
        let ip: IpAddr = address.into();
        let vips = &A::maps(maps).vips;
        let key = VipKey {
            address,
            port: 0,
            protocol: 0,
        };
        if self.live().any(|key| key.address == ip) {
            vips.put(&key, &VIP_ITSELF)
        } else if self.nat_sources.contains(&ip) {
            vips.put(&key, &NAT_SOURCE)
        } else {
            vips.delete(&key).map(drop)
        }
    }

    fn write_filter(&self, maps: &Maps) -> Result<(), TableError> {
        let listeners = self.listeners.keys().map(|key| key.address);
        let filter = filter_of(listeners.chain(self.nat_sources.iter().copied()));
        maps.filter.put(&0, &filter)
    }
}

fn id(key: &ListenerKey, index: u16) -> ListenerId {
    ListenerId {
        v6: key.address.is_ipv6(),
        index,
    }
}

fn vip_key<A>(key: &ListenerKey, address: A) -> VipKey<A> {
    VipKey {
        address,
        port: key.port.to_be(),
        protocol: u16::from(protocol_number(key.protocol)),
    }
}

fn filter_of(addresses: impl Iterator<Item = IpAddr>) -> Filter {
    let mut filter = [0; FILTER_BITS as usize / 64];
    for address in addresses {
        let bit = match address {
            IpAddr::V4(a) => filter_bit(Addr4::from(a)),
            IpAddr::V6(a) => filter_bit(Addr6::from(a)),
        };
        filter[(bit / 64) as usize] |= 1 << (bit % 64);
    }
    filter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_has_the_bit_of_every_address() {
        let addresses: Vec<IpAddr> = ["10.0.0.100", "192.0.2.1", "fd00::1"]
            .map(|a| a.parse().unwrap())
            .to_vec();
        let filter = filter_of(addresses.iter().copied());
        let set: u32 = filter.iter().map(|w| w.count_ones()).sum();
        assert!((1..=3).contains(&set));
        for address in addresses {
            let one = filter_of(std::iter::once(address));
            assert!(filter.iter().zip(one).all(|(all, one)| all & one == one));
        }
        assert_eq!(filter_of(std::iter::empty()), [0; 64]);
    }
}
