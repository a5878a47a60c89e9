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
        backend::V6,
        vip::{
            FILTER_BITS, FILTER_WORDS, Filter, Listener, NAT_SOURCE, VIP_ITSELF, VipKey, filter_bit,
        },
    },
    wire,
};

use super::{
    adjacency::address_of,
    maps::{Family, Maps},
    table::TableError,
};
use crate::{
    dataplane::{DataplaneError, ListenerView},
    model::{Counted, Full, ListenerKey, Mode, Protocol},
};

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
pub(super) struct Vips {
    listeners: BTreeMap<ListenerKey, Entry>,
    /// How many live listeners an address has.
    live: BTreeMap<IpAddr, usize>,
    /// The indices that no listener has, IPv4 and IPv6.
    free: [BTreeSet<u16>; 2],
    nat_sources: BTreeSet<IpAddr>,
    /// Backends that answer clients by their own addresses. They stay, for so do flows.
    senders: BTreeSet<IpAddr>,
    filter: FilterCounts,
}

impl Vips {
    /// What an earlier agent left.
    pub(super) fn recover(maps: &Maps) -> Result<Self, TableError> {
        let all = |rows: u32| (0..u16::try_from(rows).unwrap_or(u16::MAX)).collect();
        let mut vips = Self {
            listeners: BTreeMap::new(),
            live: BTreeMap::new(),
            free: [
                all(maps.v4.listeners.max_entries()),
                all(maps.v6.listeners.max_entries()),
            ],
            nat_sources: BTreeSet::new(),
            senders: BTreeSet::new(),
            filter: FilterCounts::default(),
        };
        vips.recover_family::<Addr4>(maps)?;
        vips.recover_family::<Addr6>(maps)?;
        vips.recover_senders(maps)?;
        // Addresses that nobody has any more may have their bits in it.
        maps.filter.put(&0, &vips.filter.bits())?;
        Ok(vips)
    }

    fn recover_senders(&mut self, maps: &Maps) -> Result<(), TableError> {
        let keeps: Vec<bool> = (0..maps.lbs.max_entries())
            .map(|lb| Ok(maps.lbs.at(lb)?.keeps_source != 0))
            .collect::<Result<_, TableError>>()?;
        if !keeps.contains(&true) {
            return Ok(());
        }
        maps.backends.each(|_, row| {
            let is_there = Mode::of_byte(row.mode).is_some();
            if is_there && keeps.get(usize::from(row.lb)) == Some(&true) {
                let address = address_of(row.address, row.flags & V6 != 0);
                if self.senders.insert(address) {
                    self.filter.add_sender(address);
                }
            }
        })
    }

    /// These backends answer clients by their own addresses.
    pub(super) fn expect_from(
        &mut self,
        maps: &Maps,
        backends: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), TableError> {
        for address in backends {
            if self.senders.insert(address) {
                self.filter.add_sender(address);
            }
        }
        self.write_filter(maps)
    }

    fn recover_family<A: Family>(&mut self, maps: &Maps) -> Result<(), TableError> {
        let family = A::maps(maps);
        let mut live = BTreeSet::new();
        family.vips.each(|key, value| {
            match *value {
                NAT_SOURCE => {
                    let address = key.address.into();
                    if self.nat_sources.insert(address) {
                        self.filter.add(address);
                    }
                }
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
                self.insert(key, index, live);
            }
        })
    }

    /// Takes note of a listener.
    fn insert(&mut self, key: ListenerKey, index: u16, live: bool) {
        let old = self.listeners.insert(key, Entry { index, live });
        if old.is_none() {
            self.filter.add(key.address);
            self.free[usize::from(key.address.is_ipv6())].remove(&index);
        }
        match (old.is_some_and(|old| old.live), live) {
            (false, true) => *self.live.entry(key.address).or_default() += 1,
            (true, false) => self.unlive(key.address),
            _ => {}
        }
    }

    /// One of the address's listeners takes no new flows any more.
    fn unlive(&mut self, address: IpAddr) {
        if let Some(count) = self.live.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                self.live.remove(&address);
            }
        }
    }

    /// Whether there is an index for each of these listeners; those that were
    /// removed have theirs until no flow names it. `limit` is how many the
    /// configuration promises.
    pub(super) fn check(&self, wanted: &[ListenerKey], limit: u32) -> Result<(), Full> {
        for (v6, free) in [false, true].into_iter().zip(&self.free) {
            let new = wanted
                .iter()
                .filter(|key| key.address.is_ipv6() == v6 && !self.listeners.contains_key(key))
                .count();
            if new > free.len() {
                let missing = u32::try_from(new - free.len()).unwrap_or(u32::MAX);
                return Err(Full {
                    what: Counted::Listeners,
                    limit,
                    needed: limit.saturating_add(missing),
                });
            }
        }
        Ok(())
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
            None => self.free[usize::from(A::V6)]
                .first()
                .copied()
                .ok_or_else(|| no_index(A::V6))?,
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
        self.insert(*key, index, true);
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
        if let Some(entry) = self.listeners.get_mut(key)
            && std::mem::take(&mut entry.live)
        {
            self.unlive(key.address);
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
            self.filter.remove(key.address);
            self.free[usize::from(key.address.is_ipv6())].insert(entry.index);
            let index = u32::from(entry.index);
            match key.address {
                IpAddr::V4(_) => maps.v4.listeners.put(&index, &Listener::default())?,
                IpAddr::V6(_) => maps.v6.listeners.put(&index, &Listener::default())?,
            }
        }
        self.write_filter(maps)
    }

    /// Makes these addresses nat sources, besides those that are already.
    pub(super) fn add_nat_sources(
        &mut self,
        maps: &Maps,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Result<(), TableError> {
        for address in addresses {
            if self.nat_sources.insert(address) {
                self.filter.add(address);
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
            self.filter.remove(*address);
            self.write_address(maps, *address)?;
        }
        self.write_filter(maps)
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
        if self.live.contains_key(&ip) {
            vips.put(&key, &VIP_ITSELF)
        } else if self.nat_sources.contains(&ip) {
            vips.put(&key, &NAT_SOURCE)
        } else {
            vips.delete(&key).map(drop)
        }
    }

    /// Writes the filter, if it is another one than the last that was written.
    fn write_filter(&mut self, maps: &Maps) -> Result<(), TableError> {
        if self.filter.is_written {
            return Ok(());
        }
        maps.filter.put(&0, &self.filter.bits())?;
        self.filter.is_written = true;
        Ok(())
    }
}

/// [`Vips::check`] was asked, and said otherwise.
fn no_index(v6: bool) -> DataplaneError {
    let family = if v6 { "IPv6" } else { "IPv4" };
    DataplaneError::Refused(format!("every index of an {family} listener is taken"))
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

/// How many times each bit of the filter is needed: once for each listener, each nat source
/// and each backend that answers clients.
struct FilterCounts {
    counts: Vec<u32>,
    has_senders: bool,
    is_written: bool,
}

impl Default for FilterCounts {
    fn default() -> Self {
        Self {
            counts: vec![0; FILTER_BITS as usize],
            has_senders: false,
            is_written: false,
        }
    }
}

impl FilterCounts {
    fn add(&mut self, address: IpAddr) {
        let count = &mut self.counts[bit(address)];
        *count += 1;
        self.is_written &= *count > 1;
    }

    /// One whose packets count although they are to nobody of ours.
    fn add_sender(&mut self, address: IpAddr) {
        self.add(address);
        self.is_written &= self.has_senders;
        self.has_senders = true;
    }

    fn remove(&mut self, address: IpAddr) {
        let count = &mut self.counts[bit(address)];
        *count -= 1;
        self.is_written &= *count > 0;
    }

    fn bits(&self) -> Filter {
        let mut filter = [0; FILTER_WORDS + 1];
        filter[FILTER_WORDS] = self.has_senders.into();
        for (bit, _) in self.counts.iter().enumerate().filter(|(_, n)| **n > 0) {
            filter[bit / 64] |= 1 << (bit % 64);
        }
        filter
    }
}

fn bit(address: IpAddr) -> usize {
    let bit = match address {
        IpAddr::V4(a) => filter_bit(Addr4::from(a)),
        IpAddr::V6(a) => filter_bit(Addr6::from(a)),
    };
    bit as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_has_the_bit_of_every_address() {
        let addresses: Vec<IpAddr> = ["10.0.0.100", "192.0.2.1", "fd00::1"]
            .map(|a| a.parse().unwrap())
            .to_vec();
        let mut filter = FilterCounts::default();
        for address in &addresses {
            filter.add(*address);
            filter.add(*address);
        }
        for address in &addresses {
            filter.remove(*address);
        }
        let has = |filter: &FilterCounts, address| {
            let bit = bit(address);
            filter.bits()[bit / 64] >> (bit % 64) & 1 == 1
        };
        assert!(addresses.iter().all(|address| has(&filter, *address)));
        for address in &addresses {
            filter.remove(*address);
        }
        assert_eq!(filter.bits(), [0; FILTER_WORDS + 1], "nobody's bit is left");
        filter.add_sender(addresses[0]);
        assert_eq!(filter.bits()[FILTER_WORDS], 1, "sources count");
    }
}
