//! What the kernel has been told, and the writes that tell it more.
//!
//! The control task and the resolver both change what the kernel knows of a
//! backend: the one its flag and epoch, the other its next hop. A backend is a
//! single row in the kernel, so both go through here, under one lock, and each
//! row is composed of what is known at that moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    os::fd::OwnedFd,
    sync::Arc,
};

use lb_common::{
    abi::{
        address::words_of,
        backend::{AT_TC, BARE, Backend, LoadBalancer, REACHABLE, TAKES_NEW, V6},
        config::MAX_INTERFACES,
    },
    hash, wire,
};
use tracing::warn;

use super::{
    adjacency::{self, Adjacency},
    books,
    config::Config,
    exits::{ExitNumber, Exits, GONE, RouterRow, Routers, Served},
    link::{AttachError, Links},
    maps::{Maps, Tables},
    pools::Pools,
    rules::{BackendRule, LbRule, Rules},
    slots::{MaglevTables, Wanted},
    sources::NatSources,
    table::TableError,
    vips::{ListenerId, Vips},
};
use crate::{
    dataplane::{Attachment, BackendView, Change, DataplaneError, LbView, ListenerView, Member},
    model::{
        BackendIndex, Counted, Dscp, Epoch, Hook, LbIndex, ListenerKey, Mode, NatSource,
        OnUnhealthy, Room, TableSizes, TunnelSource, UdpSettings,
    },
    netlink::Link,
};

/// One backend, as it is composed for the kernel.
#[derive(Debug, Clone)]
struct Row {
    lb: LbIndex,
    /// The forwarding mode of its load balancer, which may be gone before it.
    mode: Mode,
    address: IpAddr,
    takes_new: bool,
    /// It is known not to serve.
    fails: bool,
    /// The epoch in the kernel.
    epoch: Epoch,
    /// Where `epoch` goes when a paced close is done.
    next_epoch: Epoch,
    /// The last that was known.
    adjacency: Option<Adjacency>,
    /// Whether it leads there now, as far as is known.
    reachable: bool,
    retired: bool,
}

/// A backend whose flows the kernel refuses from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disowned {
    pub(super) backend: BackendIndex,
    pub(super) epoch: Epoch,
    /// The flows that were open then.
    pub(super) flows: u64,
}

pub(super) struct State {
    maps: Arc<Maps>,
    /// `None` in tests that attach to no interface.
    links: Option<Links>,
    vips: Vips,
    tables: MaglevTables,
    sizes: TableSizes,
    lbs: BTreeMap<LbIndex, LbView>,
    /// Who has more than its share of the tables of flows.
    over_share: BTreeMap<LbIndex, u8>,
    /// Who has slots in the table of each.
    members: BTreeMap<LbIndex, Vec<Member>>,
    backends: BTreeMap<BackendIndex, Row>,
    /// Those whose next epoch is not in the kernel yet, because a paced close goes on.
    paced: BTreeSet<BackendIndex>,
    exits: Exits,
    pools: Pools,
    tunnel_v4: Option<TunnelSource>,
    tunnel_v6: Option<TunnelSource>,
    udp: UdpSettings,
    tunnel_dscp: Dscp,
    /// What the sweeper was told, which backends are not in it yet as they are,
    /// and whether load balancers changed that all of theirs follow.
    rules: Arc<Rules>,
    touched: BTreeSet<BackendIndex>,
    retimed: bool,
    sources: NatSources,
    /// A flag was taken away or an epoch raised, and packets in flight may
    /// still go by what was before.
    unsettled: bool,
    /// Whether this is what control wants yet.
    pub(super) is_reconciled: bool,
}

impl State {
    pub(super) fn new(
        maps: Arc<Maps>,
        tables: (Tables, OwnedFd),
        links: Option<Links>,
        config: &Config,
    ) -> Result<Self, TableError> {
        let mut vips = Vips::recover(&maps)?;
        let pools = Pools::new(&config.nat_pool, &config.nat_pools);
        vips.add_nat_sources(&maps, pools.all())?;
        Ok(Self {
            vips,
            exits: Exits::recover(&maps)?,
            tables: MaglevTables::new(tables, Arc::clone(&maps), &config.tables),
            sizes: config.tables,
            links,
            maps,
            lbs: BTreeMap::new(),
            over_share: BTreeMap::new(),
            members: BTreeMap::new(),
            backends: BTreeMap::new(),
            paced: BTreeSet::new(),
            pools,
            tunnel_v4: config.tunnel_source(false),
            tunnel_v6: config.tunnel_source(true),
            udp: config.udp,
            tunnel_dscp: config.tunnel_dscp,
            rules: Arc::default(),
            touched: BTreeSet::new(),
            retimed: false,
            sources: NatSources::default(),
            unsettled: false,
            is_reconciled: false,
        })
    }

    /// What the sweeper is to go by now. Only what has changed is looked at.
    pub(super) fn rules(&mut self) -> Arc<Rules> {
        let mut touched = std::mem::take(&mut self.touched);
        if std::mem::take(&mut self.retimed) {
            touched.extend(self.backends.keys());
        }
        let mut changed = Vec::with_capacity(touched.len());
        for index in touched {
            let row = self.backends.get(&index);
            let present = row.filter(|row| !row.retired);
            let source = present.and_then(|row| self.nat_source(row));
            self.sources.set(index, source);
            let rule = row.map(|row| BackendRule {
                lb: row.lb,
                epoch: row.epoch,
                takes_new: row.takes_new,
                ends_udp: row.fails && self.udp.on_unhealthy == OnUnhealthy::Close,
                retired: row.retired,
                timers: self
                    .lbs
                    .get(&row.lb)
                    .map_or(LbRule::ORPHAN, |lb| LbRule::of(lb, self.udp)),
            });
            changed.push((index, rule));
        }
        let mut nat_sources = self.pools.all();
        nat_sources.append(&mut self.sources.all());
        let retired_listeners = self.vips.retired();
        let is_news = !changed.is_empty()
            || self.rules.nat_sources != nat_sources
            || self.rules.retired_listeners != retired_listeners;
        if is_news {
            // The sweeper has the ones before, so this copies them.
            let rules = Arc::make_mut(&mut self.rules);
            rules.nat_sources = nat_sources;
            rules.retired_listeners = retired_listeners;
            for (index, rule) in changed {
                rules.set(index, rule);
            }
        }
        Arc::clone(&self.rules)
    }

    /// The backends that are not retired.
    pub(super) fn backends(&self) -> Vec<BackendIndex> {
        let rows = self.backends.iter();
        rows.filter(|(_, row)| !row.retired)
            .map(|(index, _)| *index)
            .collect()
    }

    /// The load balancers in the kernel, those of an earlier agent too.
    pub(super) fn lbs(&self) -> Result<BTreeSet<LbIndex>, TableError> {
        let mut lbs: BTreeSet<_> = self.lbs.keys().copied().collect();
        self.maps.lbs.each(|index, row| {
            if let Ok(index) = LbIndex::try_from(*index)
                && row.slots != 0
            {
                lbs.insert(index);
            }
        })?;
        Ok(lbs)
    }

    /// The listeners that take new flows.
    pub(super) fn listeners(&self) -> Vec<ListenerKey> {
        self.vips.live().collect()
    }

    /// Whether changes fit into the kernel's tables, where indices of what was
    /// removed may still be taken.
    pub(super) fn check(&self, changes: &[Change]) -> Result<(), DataplaneError> {
        let fits = |what, index: u16, limit: u32| {
            Room {
                what,
                used: u32::from(index) + 1,
                limit,
            }
            .check()
        };
        let mut listeners = Vec::new();
        for change in changes {
            match change {
                Change::PutLb(view) => {
                    fits(
                        Counted::LoadBalancers,
                        view.index,
                        self.maps.lbs.max_entries(),
                    )?;
                }
                Change::PutBackend(view) => {
                    fits(
                        Counted::Backends,
                        view.index,
                        self.maps.backends.max_entries(),
                    )?;
                }
                Change::PutListener(view) => listeners.push(view.key),
                _ => {}
            }
        }
        Ok(self.vips.check(&listeners, self.sizes.listeners)?)
    }

    // Load balancers and listeners.

    pub(super) fn put_lb(&mut self, view: &LbView) -> Result<(), DataplaneError> {
        let index = u32::from(view.index);
        let slots = match self.maps.lbs.at(index)?.slots {
            0 => self.tables.slots(),
            // Where the size of the tables has changed, both the old table and
            // the new one have this many slots.
            slots => slots.min(self.tables.slots()),
        };
        let row = LoadBalancer {
            seed: hash::name(view.name.as_bytes()),
            slots,
            mode: view.mode.byte(),
            over_share: self.over_share.get(&view.index).copied().unwrap_or(0),
            keeps_source: keeps_source(view).into(),
            pad: 0,
            pools: self.pools.of(&view.name),
        };
        if keeps_source(view) {
            let backends = self.backends.values().filter(|row| row.lb == view.index);
            self.vips
                .expect_from(&self.maps, backends.map(|row| row.address))?;
        }
        self.maps.lbs.put(&index, &row)?;
        let known = self.lbs.insert(view.index, view.clone());
        self.retimed |= known.as_ref() != Some(view);
        if known.is_some_and(|known| known.mode == view.mode) {
            return Ok(());
        }
        let mut changed = Vec::new();
        for (index, backend) in &mut self.backends {
            if backend.lb == view.index && backend.mode != view.mode && !backend.retired {
                backend.mode = view.mode;
                changed.push(*index);
            }
        }
        changed
            .into_iter()
            .try_for_each(|index| self.write_backend(index))
    }

    /// Who has more than its share of the tables of flows now.
    pub(super) fn set_over_share(
        &mut self,
        over: &BTreeMap<LbIndex, u8>,
    ) -> Result<(), TableError> {
        for (lb, view) in &self.lbs {
            let over_share = over.get(lb).copied().unwrap_or(0);
            let index = u32::from(*lb);
            let row = self.maps.lbs.at(index)?;
            if row.over_share != over_share {
                self.maps
                    .lbs
                    .put(&index, &LoadBalancer { over_share, ..row })?;
                if over_share != 0 {
                    warn!(
                        lb = view.name,
                        "the table of flows is nearly full, and this load balancer has more than \
                         its share: its new flows get no entry until that changes"
                    );
                }
            }
        }
        self.over_share.clone_from(over);
        Ok(())
    }

    pub(super) fn remove_lb(&mut self, lb: LbIndex) -> Result<(), DataplaneError> {
        self.tables.remove(lb)?;
        self.maps
            .lbs
            .put(&u32::from(lb), &LoadBalancer::default())?;
        self.lbs.remove(&lb);
        self.members.remove(&lb);
        self.retimed = true;
        Ok(())
    }

    pub(super) fn put_listener(&mut self, view: &ListenerView) -> Result<(), DataplaneError> {
        self.vips.put(&self.maps, view)
    }

    pub(super) fn remove_listener(&mut self, key: &ListenerKey) -> Result<(), DataplaneError> {
        self.unsettled = true;
        Ok(self.vips.remove(&self.maps, key)?)
    }

    /// Puts tables that are not there yet, all of them at once.
    pub(super) fn put_tables(&mut self, wanted: &[Wanted<'_>]) -> Result<(), DataplaneError> {
        for (lb, members) in wanted {
            self.members.insert(*lb, members.to_vec());
        }
        self.fill_tables(wanted.iter().map(|(lb, _)| *lb))?;
        let slots = self.tables.slots();
        for (lb, _) in wanted {
            let index = u32::from(*lb);
            let row = self.maps.lbs.at(index)?;
            if row.slots != 0 && row.slots != slots {
                self.maps.lbs.put(&index, &LoadBalancer { slots, ..row })?;
            }
        }
        Ok(())
    }

    /// Builds the tables of those members that are in service and can be reached.
    fn fill_tables(
        &mut self,
        lbs: impl IntoIterator<Item = LbIndex>,
    ) -> Result<(), DataplaneError> {
        let reachable = |member: &Member| {
            let row = self.backends.get(&member.backend);
            Member {
                in_service: member.in_service && row.is_some_and(|row| row.reachable),
                ..member.clone()
            }
        };
        let filled: Vec<(LbIndex, Vec<Member>)> = lbs
            .into_iter()
            .filter_map(|lb| Some((lb, self.members.get(&lb)?.iter().map(reachable).collect())))
            .collect();
        let wanted: Vec<Wanted<'_>> = filled
            .iter()
            .map(|(lb, members)| (*lb, members.as_slice()))
            .collect();
        let swapped = self.tables.put(&wanted)?;
        self.unsettled &= swapped.is_empty();
        Ok(())
    }

    // Backends.

    pub(super) fn put_backend(&mut self, view: &BackendView) -> Result<(), DataplaneError> {
        let Some(mode) = self.lbs.get(&view.lb).map(|lb| lb.mode) else {
            return Err(DataplaneError::Refused(format!(
                "there is no load balancer with the index {}",
                view.lb
            )));
        };
        let row = self.backends.entry(view.index).or_insert_with(|| Row {
            lb: view.lb,
            mode,
            address: view.address,
            takes_new: false,
            fails: false,
            epoch: view.epoch,
            next_epoch: view.epoch,
            adjacency: None,
            reachable: false,
            retired: false,
        });
        if row.takes_new && !view.takes_new {
            self.unsettled = true;
        }
        row.takes_new = view.takes_new;
        row.fails = view.fails;
        row.retired = false;
        row.mode = mode;
        row.lb = view.lb;
        if row.address != view.address {
            row.address = view.address;
            row.adjacency = None;
            row.reachable = false;
        }
        if row.epoch == row.next_epoch {
            row.epoch = view.epoch;
        }
        row.next_epoch = view.epoch;
        self.write_backend(view.index)
    }

    /// Takes the backend's flows away from it, all at once; or, where its load
    /// balancer has a pace for that, makes ready to and returns the pace. The
    /// caller settles before it counts.
    pub(super) fn disown(
        &mut self,
        backend: BackendIndex,
        epoch: Epoch,
    ) -> Result<Option<Pace>, DataplaneError> {
        let row = self.backends.get_mut(&backend);
        let row = row.ok_or_else(|| no_backend(backend))?;
        let lb = row.lb;
        let per_second = self.lbs.get(&lb).map_or(0, |view| view.close_rate);
        row.next_epoch = epoch;
        if per_second > 0 && !row.takes_new {
            self.paced.insert(backend);
            return Ok(Some(Pace { lb, per_second }));
        }
        self.advance(backend)?;
        Ok(None)
    }

    /// Puts the backend's next epoch into the kernel.
    fn advance(&mut self, backend: BackendIndex) -> Result<(), DataplaneError> {
        if let Some(row) = self.backends.get_mut(&backend) {
            row.epoch = row.next_epoch;
            self.paced.remove(&backend);
            self.unsettled = true;
            self.write_backend(backend)?;
        }
        Ok(())
    }

    /// What is there to be taken out of a disowned backend.
    pub(super) fn disowned(&self, backend: BackendIndex) -> Result<Option<Disowned>, TableError> {
        let Some(row) = self.backends.get(&backend) else {
            return Ok(None);
        };
        Ok(Some(Disowned {
            backend,
            epoch: row.epoch,
            flows: books::active(&books::row(&self.maps, backend)?),
        }))
    }

    /// The end of a paced close: what is left is disowned at once.
    pub(super) fn finish_paced(
        &mut self,
        backend: BackendIndex,
    ) -> Result<Option<Disowned>, DataplaneError> {
        self.advance(backend)?;
        self.settle()?;
        Ok(self.disowned(backend)?)
    }

    /// The backends that take new flows again although a paced close of their
    /// old ones is going on: the new ones cannot wait for it.
    pub(super) fn impatient(&self) -> Vec<BackendIndex> {
        let is_impatient = |index: &BackendIndex| {
            let row = self.backends.get(index);
            row.is_some_and(|row| row.takes_new && row.epoch != row.next_epoch)
        };
        self.paced
            .iter()
            .copied()
            .filter(|index| is_impatient(index))
            .collect()
    }

    /// False if there is no such backend.
    pub(super) fn remove_backend(&mut self, backend: BackendIndex) -> Result<bool, DataplaneError> {
        let Some(row) = self.backends.get_mut(&backend) else {
            return Ok(false);
        };
        self.unsettled |= row.takes_new;
        row.takes_new = false;
        row.retired = true;
        self.write_backend(backend)?;
        Ok(true)
    }

    /// Nothing in the kernel names the backend any more.
    pub(super) fn forget_backend(&mut self, backend: BackendIndex) -> Result<bool, TableError> {
        if self.backends.get(&backend).is_none_or(|row| !row.retired) {
            return Ok(false);
        }
        self.backends.remove(&backend);
        self.paced.remove(&backend);
        self.touched.insert(backend);
        let index = u32::from(backend);
        self.maps.backends.put(&index, &Backend::default())?;
        books::clear(&self.maps, backend)?;
        Ok(true)
    }

    pub(super) fn forget_listeners(
        &mut self,
        forgotten: &BTreeSet<ListenerId>,
    ) -> Result<(), TableError> {
        self.vips.forget(&self.maps, forgotten)
    }

    /// Nat sources that are neither among these nor wanted now have no flows.
    pub(super) fn forget_nat_sources(&mut self, used: &BTreeSet<IpAddr>) -> Result<(), TableError> {
        let rules = self.rules();
        self.vips
            .forget_nat_sources(&self.maps, &rules.nat_sources, used)
    }

    /// When this returns, every packet in flight goes by what has been written.
    pub(super) fn settle(&mut self) -> Result<(), DataplaneError> {
        if self.unsettled {
            self.tables.wait()?;
            self.unsettled = false;
        }
        Ok(())
    }

    /// The backends in the kernel that an earlier agent wrote, with what matters
    /// of them.
    pub(super) fn recover_backends(&self) -> Result<BTreeMap<BackendIndex, Found>, TableError> {
        let mut found = BTreeMap::new();
        self.maps.backends.each(|index, row| {
            // A row of zeros is nobody's, and has no mode.
            if let Ok(index) = u16::try_from(*index)
                && let Some(mode) = Mode::of_byte(row.mode)
            {
                found.insert(
                    index,
                    Found {
                        lb: row.lb,
                        mode,
                        address: adjacency::address_of(row.address, row.flags & V6 != 0),
                        epoch: row.epoch,
                        adjacency: Adjacency::of(row),
                    },
                );
            }
        })?;
        Ok(found)
    }

    /// Takes over a backend that an earlier agent wrote, as it is.
    pub(super) fn adopt(&mut self, index: BackendIndex, found: &Found) {
        let Found {
            lb,
            mode,
            address,
            epoch,
            adjacency,
        } = *found;
        self.touched.insert(index);
        self.backends.entry(index).or_insert(Row {
            lb,
            mode,
            address,
            takes_new: false,
            fails: false,
            epoch,
            next_epoch: epoch,
            adjacency,
            reachable: adjacency.is_some(),
            retired: false,
        });
    }

    /// Gives a backend's row an epoch that no flow has, until it is put again.
    pub(super) fn shut(&mut self, backend: BackendIndex) -> Result<(), DataplaneError> {
        if let Some(row) = self.backends.get_mut(&backend) {
            row.takes_new = false;
            row.epoch = row.epoch.wrapping_add(1 << 31);
            row.next_epoch = row.epoch;
            self.unsettled = true;
            self.write_backend(backend)?;
        }
        self.settle()
    }

    /// What the resolver has found out. A backend that cannot be reached keeps
    /// the last adjacency for its open flows, as long as the interface is there.
    ///
    /// In the order of a plan: the tables change between those that can be reached
    /// now and those that cannot.
    pub(super) fn set_adjacencies(
        &mut self,
        news: &[(BackendIndex, Option<Adjacency>)],
    ) -> Result<(), DataplaneError> {
        let mut changed = BTreeSet::new();
        let mut lost = Vec::new();
        for (backend, adjacency) in news {
            let Some(row) = self.backends.get_mut(backend) else {
                continue;
            };
            if row.reachable != adjacency.is_some() {
                row.reachable = adjacency.is_some();
                changed.insert(row.lb);
            }
            if let Some(adjacency) = adjacency {
                row.adjacency = Some(*adjacency);
                self.write_backend(*backend)?;
            } else {
                let gone = |adjacency: &Adjacency| !self.exits.has(adjacency.ifindex);
                if row.adjacency.as_ref().is_some_and(gone) {
                    row.adjacency = None;
                }
                lost.push(*backend);
            }
        }
        self.fill_tables(changed)?;
        lost.into_iter()
            .try_for_each(|backend| self.write_backend(backend))
    }

    // Interfaces.

    /// Makes the program serve this interface: says so in the tables, then
    /// attaches, unless it is attached. When all have been served, they have to
    /// [agree on hooks](Self::agree_on_hooks).
    pub(super) fn serve(&mut self, link: &Link) -> Result<(), ServeError> {
        let number = self
            .exits
            .put_interface(&self.maps, link)?
            .ok_or(ServeError::TooMany)?;
        if self.exits.is_attached(link) {
            return Ok(());
        }
        let hook = match &mut self.links {
            Some(links) => links.attach(link)?,
            None => Hook::Xdp,
        };
        let served = Served {
            number,
            ifindex: link.index,
            hook,
            is_loopback: link.loopback,
            is_bare: link.bare,
        };
        self.exits.served.insert(link.name.clone(), served);
        Ok(())
    }

    /// What a program at XDP sends to a device without XDP is lost. So one interface at TC
    /// brings the others there, too, where the choice is ours; and those that stay at XDP
    /// have the program at TC besides, to which the one at XDP leaves what would be lost.
    pub(super) fn agree_on_hooks(&mut self) -> Result<(), ServeError> {
        let Some(links) = &mut self.links else {
            return Ok(());
        };
        let is_at = |served: &Served, hook| served.ifindex != GONE && served.hook == hook;
        let served = &mut self.exits.served;
        if served
            .values()
            .any(|s| is_at(s, Hook::Tc) && !s.is_loopback)
        {
            for (name, served) in &mut *served {
                if is_at(served, Hook::Xdp) && links.may_choose(name) {
                    served.hook = links.attach_at_tc(name, served.ifindex, served.is_bare)?;
                }
            }
        }
        let any_at_tc = served.values().any(|served| is_at(served, Hook::Tc));
        if any_at_tc {
            for (name, served) in &*served {
                if is_at(served, Hook::Xdp) {
                    links.put_at_tc(name, served.ifindex, served.is_bare)?;
                }
            }
        }
        // From here on the one at TC counts what the other passes.
        self.maps.tc_counts.put(&0, &u32::from(any_at_tc))?;
        if self.exits.put_hooks(&self.maps)? {
            let all: Vec<_> = self.backends.keys().copied().collect();
            for backend in all {
                self.write_backend(backend)?;
            }
        }
        if let Some(links) = &mut self.links
            && !any_at_tc
        {
            for name in self.exits.served.keys() {
                links.take_off_tc(name)?;
            }
        }
        Ok(())
    }

    /// Forgets the interfaces that are not among `links` any more, but for
    /// their numbers: they may come back.
    pub(super) fn miss(&mut self, links: &[Link]) {
        for (name, served) in &mut self.exits.served {
            if served.ifindex != GONE && !links.iter().any(|link| link.index == served.ifindex) {
                warn!(interface = name, "the interface is gone");
                served.ifindex = GONE;
            }
        }
    }

    pub(super) fn attachments(&self) -> Vec<Attachment> {
        let served = self.exits.served.iter();
        served
            .filter(|(_, served)| served.ifindex != GONE)
            .map(|(name, served)| Attachment {
                interface: name.clone(),
                hook: served.hook,
            })
            .collect()
    }

    // Routers.

    /// The routers that an earlier agent knew.
    pub(super) fn routers(&self) -> BTreeMap<ExitNumber, RouterRow> {
        self.exits.routers()
    }

    /// What the resolver has found out about routers.
    pub(super) fn set_routers(&mut self, known: &Routers) -> Result<(), TableError> {
        self.exits.put_routers(&self.maps, known)
    }

    // Composing.

    fn write_backend(&mut self, index: BackendIndex) -> Result<(), DataplaneError> {
        let Some(row) = self.backends.get(&index) else {
            return Ok(());
        };
        self.touched.insert(index);
        let value = self.compose(row);
        if self.lbs.get(&row.lb).is_some_and(keeps_source) {
            // Its answers are known as such before there is one.
            self.vips.expect_from(&self.maps, [row.address])?;
        }
        if let Some(source) = self.nat_source(row) {
            // An address that ebb translates to is known as such before a packet
            // comes back to it.
            self.vips.add_nat_sources(&self.maps, [source])?;
        }
        Ok(self.maps.backends.put(&u32::from(index), &value)?)
    }

    /// The address that ebb translates to for this backend, if its load balancer has no pool.
    fn nat_source(&self, row: &Row) -> Option<IpAddr> {
        let source = row.mode.translates().then_some(row.adjacency?.source)?;
        let lb = self.lbs.get(&row.lb).map_or("", |view| &view.name);
        let pool = self.pools.of(lb)[usize::from(source.is_ipv6())];
        (pool.len == 0).then_some(source)
    }

    fn compose(&self, row: &Row) -> Backend {
        let v6 = row.address.is_ipv6();
        let mut flags = if v6 { V6 } else { 0 };
        if row.adjacency.is_some() {
            flags |= REACHABLE;
        }
        if let Some(adjacency) = row.adjacency
            && self.exits.is_at_tc(adjacency.ifindex)
        {
            flags |= AT_TC;
        }
        if row.adjacency.is_some_and(|adjacency| adjacency.bare) {
            flags |= BARE;
        }
        if row.takes_new && row.adjacency.is_some() && row.reachable {
            flags |= TAKES_NEW;
        }
        let tunnel = if v6 { self.tunnel_v6 } else { self.tunnel_v4 };
        let source = match tunnel.filter(|_| row.mode.tunnels()) {
            Some(tunnel) => adjacency::tunnel_base(tunnel.address, tunnel.bits),
            None => row
                .adjacency
                .map_or([0; 4], |adjacency| words_of(adjacency.source)),
        };
        let (class_kept, class_added) = match self.tunnel_dscp {
            Dscp::Copy => (u8::MAX, 0),
            Dscp::Fixed(dscp) => (wire::ECN, dscp << 2),
        };
        Backend {
            macs: row.adjacency.map_or([0; 3], |adjacency| adjacency.macs()),
            ifindex: row.adjacency.map_or(0, |adjacency| adjacency.ifindex),
            epoch: row.epoch,
            flags,
            address: words_of(row.address),
            source,
            lb: row.lb,
            mtu: row.adjacency.map_or(0, |adjacency| adjacency.mtu),
            mode: row.mode.byte(),
            class_kept,
            class_added,
            pad: 0,
        }
    }
}

/// How fast flows are closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) lb: LbIndex,
    pub(super) per_second: u32,
}

/// A backend in the kernel's table, from before this agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) lb: LbIndex,
    pub(super) mode: Mode,
    pub(super) address: IpAddr,
    pub(super) epoch: Epoch,
    pub(super) adjacency: Option<Adjacency>,
}

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    Attach(#[from] AttachError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error(transparent)]
    Dataplane(#[from] DataplaneError),
    #[error("the kernel's table holds {MAX_INTERFACES} interfaces and all are taken")]
    TooMany,
}

fn no_backend(backend: BackendIndex) -> DataplaneError {
    DataplaneError::Refused(format!("there is no backend with the index {backend}"))
}

/// Whether backends see the clients' own addresses.
fn keeps_source(view: &LbView) -> bool {
    view.mode.translates() && view.nat_source == NatSource::Client
}
