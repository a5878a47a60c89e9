//! The data plane in the kernel, as everything above it knows it: start, changes,
//! and what is read back.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    io,
    net::IpAddr,
    sync::{Arc, Mutex, atomic::Ordering},
    time::Duration,
};

use lb_common::abi::{
    address::{Addr4, Addr6},
    flow::{Flow, FlowKey, KEEPS_SOURCE, REPLY},
};
use tracing::info;

use super::{
    books,
    config::{Config, ConfigError},
    flows,
    link::Links,
    loader::{self, LoadError, Loaded},
    maps::{Family, Maps},
    nexthop,
    pools::Pools,
    rules,
    shared::{Fill, Shared},
    slots::Wanted,
    state::{Disowned, Found, Pace, ServeError, State},
    sweep,
    table::{self, TableError},
    warnings,
};
use crate::{
    dataplane::{
        Attachment, BackendView, Change, Counters, Dataplane, DataplaneError, Event, EventSink,
        FlowRecord, Gauges, TableFill, Ties, View,
    },
    model::{BackendCounters, BackendIndex, LbIndex, TableSizes},
    netlink::{self, Netlink},
};

/// The data plane in the kernel. Dropping it ends its threads; the program goes
/// on forwarding.
pub struct Kernel {
    // Threads first: they end before what they use.
    resolver: nexthop::Handle,
    sweeper: sweep::Handle,
    shared: Arc<Shared>,
    interfaces: Vec<String>,
    sizes: TableSizes,
}

/// Why the data plane cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("cannot serve {interface}: {source}")]
    Serve {
        interface: String,
        source: Box<ServeError>,
    },
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("cannot ask the kernel about interfaces and routes: {0}")]
    Netlink(#[source] io::Error),
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

impl Kernel {
    /// Loads the kernel program `object`, takes over what an earlier agent left,
    /// and attaches to the interfaces. It forwards by what was in the maps
    /// until [`Dataplane::reconcile`].
    ///
    /// # Errors
    /// When the configuration cannot hold, when what is pinned is not what this
    /// version would make, or when the kernel refuses.
    pub fn start(object: &[u8], config: &Config, events: EventSink) -> Result<Self, StartError> {
        let mut netlink = Netlink::open().map_err(StartError::Netlink)?;
        let links = netlink.links().map_err(StartError::Netlink)?;
        // What can be wrong with the configuration is found out before
        // anything is changed.
        config.settings(0)?;

        let Loaded {
            program,
            maps,
            tables,
            log,
        } = loader::load(object, &config.tables, Some(&config.bpffs_dir), config.log)?;
        let mut program = Links::new(
            program,
            &config.bpffs_dir,
            config.hook,
            config.interface_hooks.clone(),
        )?;
        let mut names = config.interfaces.clone();
        if config.local_clients {
            let loopback = links.iter().filter(|link| link.loopback);
            names.extend(loopback.map(|link| link.name.clone()));
        }
        let is_served = |link: &&netlink::Link| names.contains(&link.name);
        program.load_for(links.iter().filter(is_served))?;
        let maps = Arc::new(maps);
        write_settings(&maps, config)?;
        program
            .detach_others(&names)
            .map_err(|error| cannot_serve("what is configured", error.into()))?;
        let mut state = State::new(Arc::clone(&maps), tables, Some(program), config)?;
        // Those that are not there yet the resolver serves when they come.
        for link in links.iter().filter(is_served) {
            if link.loopback {
                netlink
                    .accept_local(link.index)
                    .map_err(StartError::Netlink)?;
            }
            state
                .serve(link)
                .map_err(|error| cannot_serve(&link.name, error))?;
        }
        state
            .agree_on_hooks()
            .map_err(|error| cannot_serve("what is configured", error))?;
        let shared = Arc::new(Shared {
            maps,
            board: rules::Board::default(),
            state: Mutex::new(state),
            fill: Fill::default(),
            events,
        });
        let interfaces = config.interfaces.clone();
        Ok(Self {
            sweeper: sweep::Handle::start(Arc::clone(&shared), log).map_err(StartError::Thread)?,
            resolver: nexthop::Handle::start(Arc::clone(&shared), interfaces.clone())
                .map_err(StartError::Thread)?,
            shared,
            interfaces,
            sizes: config.tables,
        })
    }
}

fn cannot_serve(interface: &str, error: ServeError) -> StartError {
    StartError::Serve {
        interface: interface.to_owned(),
        source: Box::new(error),
    }
}

/// Tells the kernel program its settings. The seed stays what it was, for a
/// tunnelled flow's outer source depends on it.
fn write_settings(maps: &Maps, config: &Config) -> Result<(), StartError> {
    let seed = match maps.settings.at(0)?.nat_seed {
        // The standard library's own source of random numbers.
        0 => (RandomState::new().hash_one(0) as u32).max(1),
        seed => seed,
    };
    let settings = config.settings(seed)?;
    if maps.nat_ports.prepare(&settings, &maps.settings.at(0)?)? {
        bind_again::<Addr4>(maps)?;
        bind_again::<Addr6>(maps)?;
    }
    let pools = Pools::new(&config.nat_pool, &config.nat_pools);
    fill_pool(&maps.v4.nat_pool, pools.addresses(false))?;
    fill_pool(&maps.v6.nat_pool, pools.addresses(true))?;
    Ok(maps.settings.put(&0, &settings)?)
}

/// Binds the ports that open flows have.
fn bind_again<A: Family>(maps: &Maps) -> Result<(), TableError> {
    let bind = |key: &FlowKey<A>, flow: &Flow<A>| {
        if flow.state & (REPLY | KEEPS_SOURCE) == REPLY {
            maps.nat_ports.bind(key, flow.state);
        }
    };
    let family = A::maps(maps);
    family.half_open.each(bind);
    family.flows.each(bind)
}

fn fill_pool<A: Family>(
    pool: &table::Table<u32, A>,
    addresses: &[IpAddr],
) -> Result<(), TableError> {
    let addresses = addresses.iter().filter_map(|a| A::of(*a));
    for (index, address) in (0..).zip(addresses) {
        pool.put(&index, &address)?;
    }
    Ok(())
}

/// What is to be passed on to the threads after changes of the state.
#[derive(Default)]
struct Errands {
    disowned: Vec<BackendIndex>,
    paced: Vec<(BackendIndex, Pace)>,
    hurried: Vec<BackendIndex>,
    watched: Vec<(BackendIndex, IpAddr)>,
    forgotten: Vec<BackendIndex>,
    unknown: Vec<BackendIndex>,
}

impl Kernel {
    fn run(&self, errands: Errands, reclaim: Vec<Disowned>) {
        self.resolver.watch(errands.watched);
        for backend in errands.forgotten {
            self.resolver.forget(backend);
        }
        for (backend, pace) in errands.paced {
            self.sweeper.pace(backend, pace);
        }
        for backend in errands.hurried {
            self.sweeper.hurry(backend);
        }
        for disowned in reclaim {
            self.sweeper.reclaim(disowned);
        }
        for backend in errands.unknown {
            self.shared.tell(Event::Forgotten(backend));
        }
    }

    /// Makes changes and has them settle: when this returns, no packet in
    /// flight goes by what was before.
    fn change(
        &self,
        change: impl FnOnce(&mut State, &mut Errands) -> Result<(), DataplaneError>,
    ) -> Result<(), DataplaneError> {
        let mut errands = Errands::default();
        let mut reclaim = Vec::new();
        let result = self.shared.change(|state| {
            let changed = change(state, &mut errands);
            // Also after a failure: what was changed before it stays.
            let settled = state.settle();
            errands.hurried = state.impatient();
            for backend in &errands.disowned {
                reclaim.extend(state.disowned(*backend)?);
            }
            changed.and(settled)
        });
        self.run(errands, reclaim);
        result
    }
}

fn table(change: &Change) -> Option<Wanted<'_>> {
    match change {
        Change::PutTable(lb, members) => Some((*lb, members)),
        _ => None,
    }
}

fn make(state: &mut State, change: &Change, errands: &mut Errands) -> Result<(), DataplaneError> {
    match change {
        Change::PutLb(view) => state.put_lb(view),
        Change::RemoveLb(lb) => state.remove_lb(*lb),
        Change::PutListener(view) => state.put_listener(view),
        Change::RemoveListener(key) => state.remove_listener(key),
        Change::PutTable(lb, members) => state.put_tables(&[(*lb, members)]),
        Change::PutBackend(view) => {
            state.put_backend(view)?;
            errands.watched.push((view.index, view.address));
            Ok(())
        }
        Change::Disown { backend, epoch } => {
            match state.disown(*backend, *epoch)? {
                Some(pace) => errands.paced.push((*backend, pace)),
                None => errands.disowned.push(*backend),
            }
            Ok(())
        }
        Change::RemoveBackend(backend) => {
            if state.remove_backend(*backend)? {
                errands.forgotten.push(*backend);
            } else {
                errands.unknown.push(*backend);
            }
            Ok(())
        }
    }
}

impl Dataplane for Kernel {
    fn reconcile(&mut self, view: &View) -> Result<(), DataplaneError> {
        let found = {
            let mut state = self.shared.state();
            let found = state.recover_backends()?;
            for lb in view.lbs.values() {
                state.put_lb(lb)?;
            }
            for (index, row) in &found {
                state.adopt(*index, row);
            }
            state.is_reconciled = true;
            found
        };
        self.purge(view, &found)?;
        self.change(|state, errands| {
            // In the order of a plan.
            let (takers, others): (Vec<_>, Vec<_>) =
                view.backends.values().partition(|b| b.takes_new);
            let mut put = |state: &mut State, backend: &BackendView| {
                let old = found.get(&backend.index);
                if old.is_some_and(|old| old.epoch != backend.epoch)
                    && let Some(pace) = state.disown(backend.index, backend.epoch)?
                {
                    errands.paced.push((backend.index, pace));
                }
                make(state, &Change::PutBackend(backend.clone()), errands)
            };
            takers.into_iter().try_for_each(|b| put(state, b))?;
            let members = |lb| view.tables.get(lb).map_or(&[][..], Vec::as_slice);
            let tables: Vec<_> = view.lbs.keys().map(|lb| (*lb, members(lb))).collect();
            state.put_tables(&tables)?;
            others.into_iter().try_for_each(|b| put(state, b))?;
            for listener in view.listeners.values() {
                state.put_listener(listener)?;
            }
            for key in state.listeners() {
                if !view.listeners.contains_key(&key) {
                    state.remove_listener(&key)?;
                }
            }
            for backend in state.backends() {
                if !view.backends.contains_key(&backend) {
                    make(state, &Change::RemoveBackend(backend), errands)?;
                }
            }
            for lb in state.lbs()? {
                if !view.lbs.contains_key(&lb) {
                    state.remove_lb(lb)?;
                }
            }
            Ok(())
        })
    }

    fn sizes(&self) -> TableSizes {
        self.sizes
    }

    fn check(&self, changes: &[Change]) -> Result<(), DataplaneError> {
        self.shared.state().check(changes)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), DataplaneError> {
        self.change(|state, errands| {
            // Tables that follow one another are put at once.
            let both_tables = |a: &Change, b: &Change| {
                matches!((a, b), (Change::PutTable(..), Change::PutTable(..)))
            };
            for run in changes.chunk_by(both_tables) {
                let tables: Vec<_> = run.iter().filter_map(table).collect();
                if tables.is_empty() {
                    run.iter()
                        .try_for_each(|change| make(state, change, errands))?;
                } else {
                    state.put_tables(&tables)?;
                }
            }
            Ok(())
        })
    }

    fn counters(&mut self) -> Result<Counters, DataplaneError> {
        let backends = self.shared.state().backends();
        let rows = books::rows(&self.shared.maps, backends)?;
        Ok(Counters {
            backends: rows
                .into_iter()
                .map(|(backend, row)| (backend, books::counters(&row)))
                .collect(),
            verdicts: books::verdicts(&self.shared.maps)?
                .into_iter()
                .map(|(verdict, packets)| (verdict.name(), packets))
                .collect(),
        })
    }

    fn counters_of(
        &mut self,
        backends: &[BackendIndex],
    ) -> Result<BTreeMap<BackendIndex, BackendCounters>, DataplaneError> {
        let row = |backend: &BackendIndex| {
            let row = books::row(&self.shared.maps, *backend)?;
            Ok((*backend, books::counters(&row)))
        };
        backends.iter().map(row).collect()
    }

    fn ties(&mut self, backend: BackendIndex) -> Result<Ties, DataplaneError> {
        match self.shared.board.latest() {
            Some(rules) => Ok(flows::ties(&self.shared.maps, &rules, backend)?),
            None => Ok(Ties::default()),
        }
    }

    fn attachments(&self) -> Vec<Attachment> {
        self.shared.state().attachments()
    }

    fn warnings(&self) -> Vec<String> {
        let flows = &self.shared.maps.v4.flows;
        let attachments = self.attachments();
        let of_interfaces = warnings::of_interfaces(&self.interfaces, &attachments);
        let of_tables = warnings::of_tables(self.shared.fill.entries(), flows.max_entries());
        let of_ports = warnings::of_ports(self.shared.fill.nat_ports());
        of_interfaces.chain(of_tables).chain(of_ports).collect()
    }

    fn gauges(&self) -> Gauges {
        let fill = &self.shared.fill;
        let limits = [
            self.shared.maps.v4.flows.max_entries(),
            self.shared.maps.v6.flows.max_entries(),
        ];
        let tables = ["ipv4", "ipv6"].into_iter().zip(fill.entries()).zip(limits);
        Gauges {
            tables: tables
                .map(|((family, entries), limit)| TableFill {
                    family,
                    entries,
                    limit: limit.into(),
                })
                .collect(),
            nat_ports: fill.nat_ports(),
            sweeps: fill.rounds.load(Ordering::Relaxed),
            last_sweep: Duration::from_micros(fill.micros.load(Ordering::Relaxed)),
        }
    }

    fn flows(
        &mut self,
        lb: LbIndex,
        backend: Option<BackendIndex>,
        limit: usize,
    ) -> Result<Vec<FlowRecord>, DataplaneError> {
        match self.shared.board.latest() {
            Some(rules) => Ok(flows::records(
                &self.shared.maps,
                &rules,
                lb,
                backend,
                limit,
            )?),
            None => Ok(Vec::new()),
        }
    }
}

impl Kernel {
    /// Ends the flows of indices that are another backend's now: their entries
    /// can only be read with the old backend's row.
    fn purge(
        &self,
        view: &View,
        found: &BTreeMap<BackendIndex, Found>,
    ) -> Result<(), DataplaneError> {
        let taken: Vec<_> = found
            .iter()
            .filter(|(index, old)| {
                let new = view.backends.get(index);
                new.is_some_and(|new| {
                    let mode = view.lbs.get(&new.lb).map(|lb| lb.mode);
                    (new.lb, new.address, mode) != (old.lb, old.address, Some(old.mode))
                })
            })
            .map(|(index, _)| *index)
            .collect();
        let mut shut = Vec::new();
        self.shared.change(|state| -> Result<(), DataplaneError> {
            for index in taken {
                info!(backend = index, "the index is another backend's now");
                state.shut(index)?;
                shut.extend(state.disowned(index)?);
            }
            Ok(())
        })?;
        for disowned in shut {
            self.sweeper.reclaim_and_wait(disowned);
        }
        Ok(())
    }
}
