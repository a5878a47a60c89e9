//! A data plane that forwards nothing and keeps the books of what it would.
//!
//! Tests of everything above the trait hold a [`World`]: they open and end
//! flows there as clients would, let calls fail, and look at what control has
//! put in force.

use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{
    Attachment, Change, Counters, Dataplane, DataplaneError, Event, EventSink, FlowRecord, Ties,
    View,
};
use crate::model::{
    BackendCounters, BackendIndex, Counted, Epoch, Hook, LbIndex, ListenerKey, NextHop, Room,
    TableSizes,
};

/// Names a flow of the [`World`].
pub type FlowId = u64;

/// Why a client got no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoFlow {
    NoListener,
    /// Answered with a RST, or an ICMP port unreachable.
    NoBackend,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Flow {
    key: ListenerKey,
    lb: LbIndex,
    backend: BackendIndex,
    epoch: Epoch,
    client: (IpAddr, u16),
}

/// What stands between a new flow and a backend that should have it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Known,
    None(String),
}

#[derive(Default)]
struct Inner {
    sizes: TableSizes,
    view: View,
    flows: BTreeMap<FlowId, Flow>,
    handshakes: BTreeMap<BackendIndex, u64>,
    books: BTreeMap<BackendIndex, BackendCounters>,
    /// Forced closes that wait for [`World::finish_closes`].
    closes: Vec<(BackendIndex, Epoch)>,
    /// Indices that wait for [`World::forget`].
    lingering: Vec<BackendIndex>,
    reach: BTreeMap<IpAddr, Reach>,
    hold_closes: bool,
    hold_forgotten: bool,
    /// How many changes succeed before one fails; `None`: all do.
    fail_after: Option<usize>,
    /// A change was refused, and nobody has reconciled since.
    refused: bool,
    refusals: usize,
    next_flow: FlowId,
    log: Vec<Change>,
}

/// What the tests hold. Cheap to clone; all clones are the same world.
#[derive(Clone)]
pub struct World {
    inner: Arc<Mutex<Inner>>,
    events: EventSink,
}

/// What control holds.
pub struct MemoryDataplane {
    world: World,
}

impl World {
    #[must_use]
    pub fn new(events: EventSink) -> Self {
        Self {
            inner: Arc::default(),
            events,
        }
    }

    /// A data plane on this world. A second one, after the first was dropped,
    /// is what a restarted agent finds.
    #[must_use]
    pub fn dataplane(&self) -> MemoryDataplane {
        MemoryDataplane {
            world: self.clone(),
        }
    }

    /// The same world, heard by another control: what a restart leaves.
    #[must_use]
    pub fn heard_by(&self, events: EventSink) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            events,
        }
    }

    /// What an agent that is started from now on has room for.
    pub fn resize(&self, sizes: TableSizes) {
        self.lock().sizes = sizes;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked has said so already.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client connects. `choice` stands for its 5-tuple's hash.
    ///
    /// # Errors
    /// When no flow can be made.
    pub fn connect(&self, key: ListenerKey, choice: u64) -> Result<FlowId, NoFlow> {
        let mut inner = self.lock();
        let listener = inner.view.listeners.get(&key).ok_or(NoFlow::NoListener)?;
        let lb = listener.lb;
        let members = inner.view.tables.get(&lb).map_or(&[][..], Vec::as_slice);
        let slots: Vec<BackendIndex> = members
            .iter()
            .filter(|member| member.in_service)
            .map(|member| member.backend)
            .filter(|index| inner.accepts(*index))
            .collect();
        let nth = usize::try_from(choice % slots.len().max(1) as u64).unwrap_or(0);
        let backend = *slots.get(nth).ok_or(NoFlow::NoBackend)?;
        Ok(inner.open(key, lb, backend))
    }

    /// A flow ends by itself. False if there is no such flow any more.
    pub fn end(&self, flow: FlowId) -> bool {
        let mut inner = self.lock();
        let Some(flow) = inner.flows.remove(&flow) else {
            return false;
        };
        inner.books.entry(flow.backend).or_default().closed += 1;
        true
    }

    /// Whether the flow is open, and at which backend.
    #[must_use]
    pub fn backend_of(&self, flow: FlowId) -> Option<BackendIndex> {
        self.lock().flows.get(&flow).map(|flow| flow.backend)
    }

    /// Flows that are open.
    #[must_use]
    pub fn flows(&self) -> Vec<(FlowId, BackendIndex)> {
        self.lock()
            .flows
            .iter()
            .map(|(id, flow)| (*id, flow.backend))
            .collect()
    }

    /// So many handshakes with the backend have begun and not ended.
    pub fn set_handshakes(&self, backend: BackendIndex, handshakes: u64) {
        self.lock().handshakes.insert(backend, handshakes);
    }

    /// What control has put in force.
    #[must_use]
    pub fn view(&self) -> View {
        self.lock().view.clone()
    }

    /// Every change so far, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Change> {
        self.lock().log.clone()
    }

    /// The change after the next `good` ones is refused, once.
    pub fn fail_after(&self, good: usize) {
        self.lock().fail_after = Some(good);
    }

    /// Whether a change was refused that control has not yet made good.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.lock().refused
    }

    /// How many changes were refused so far.
    #[must_use]
    pub fn refusals(&self) -> usize {
        self.lock().refusals
    }

    /// Every change succeeds again.
    pub fn clear_faults(&self) {
        self.lock().fail_after = None;
    }

    /// Handshakes with the backend that are under way.
    #[must_use]
    pub fn handshakes(&self, backend: BackendIndex) -> u64 {
        self.lock().handshakes.get(&backend).copied().unwrap_or(0)
    }

    /// Flows at the backend, by its counters.
    #[must_use]
    pub fn counted(&self, backend: BackendIndex) -> u64 {
        let inner = self.lock();
        inner.books.get(&backend).map_or(0, BackendCounters::active)
    }

    /// Forced closes wait for [`World::finish_closes`], as paced ones do.
    pub fn hold_closes(&self) {
        self.lock().hold_closes = true;
    }

    pub fn finish_closes(&self) {
        let mut inner = self.lock();
        inner.hold_closes = false;
        let closes = std::mem::take(&mut inner.closes);
        let events: Vec<Event> = closes
            .into_iter()
            .map(|(backend, epoch)| inner.close(backend, epoch))
            .collect();
        drop(inner);
        self.tell(events);
    }

    /// Indices of removed backends wait for [`World::forget`].
    pub fn hold_forgotten(&self) {
        self.lock().hold_forgotten = true;
    }

    pub fn forget(&self) {
        let mut inner = self.lock();
        inner.hold_forgotten = false;
        let lingering = std::mem::take(&mut inner.lingering);
        drop(inner);
        self.tell(lingering.into_iter().map(Event::Forgotten).collect());
    }

    /// The address cannot be reached, until [`World::reach`].
    pub fn unreach(&self, address: IpAddr, why: &str) {
        self.set_reach(address, Reach::None(why.to_owned()));
    }

    pub fn reach(&self, address: IpAddr) {
        self.set_reach(address, Reach::Known);
    }

    fn set_reach(&self, address: IpAddr, reach: Reach) {
        let mut inner = self.lock();
        inner.reach.insert(address, reach);
        let indices: Vec<BackendIndex> = inner
            .view
            .backends
            .values()
            .filter(|backend| backend.address == address)
            .map(|backend| backend.index)
            .collect();
        let events = indices
            .into_iter()
            .map(|index| inner.next_hop(index))
            .collect();
        drop(inner);
        self.tell(events);
    }

    fn tell(&self, events: Vec<Event>) {
        for event in events {
            (self.events)(event);
        }
    }
}

impl Inner {
    fn accepts(&self, index: BackendIndex) -> bool {
        self.view.backends.get(&index).is_some_and(|backend| {
            backend.takes_new && !matches!(self.reach.get(&backend.address), Some(Reach::None(_)))
        })
    }

    fn open(&mut self, key: ListenerKey, lb: LbIndex, backend: BackendIndex) -> FlowId {
        let id = self.next_flow;
        self.next_flow += 1;
        let epoch = self.view.backends.get(&backend).map_or(0, |b| b.epoch);
        // Only to be told apart.
        let [.., a, b] = id.to_be_bytes();
        let client = (IpAddr::V4(Ipv4Addr::new(192, 0, 2, a)), 1024 + u16::from(b));
        let flow = Flow {
            key,
            lb,
            backend,
            epoch,
            client,
        };
        self.flows.insert(id, flow);
        self.books.entry(backend).or_default().opened += 1;
        id
    }

    /// Closes the flows of all epochs before this one.
    fn close(&mut self, backend: BackendIndex, epoch: Epoch) -> Event {
        let before = self.flows.len();
        self.flows
            .retain(|_, flow| flow.backend != backend || flow.epoch >= epoch);
        let flows = (before - self.flows.len()) as u64;
        self.books.entry(backend).or_default().closed += flows;
        Event::Closed {
            backend,
            epoch,
            flows,
        }
    }

    fn next_hop(&self, index: BackendIndex) -> Event {
        let address = self.view.backends.get(&index).map(|b| b.address);
        let next_hop = match address.and_then(|address| self.reach.get(&address)) {
            Some(Reach::None(why)) => Err(why.clone()),
            Some(Reach::Known) | None => Ok(NextHop {
                interface: "mem0".to_owned(),
                mac: "02:00:00:00:00:01".to_owned(),
            }),
        };
        Event::NextHop {
            backend: index,
            next_hop,
        }
    }

    fn make(&mut self, change: &Change) -> Result<Vec<Event>, DataplaneError> {
        if let Some(left) = self.fail_after {
            self.fail_after = left.checked_sub(1);
            if left == 0 {
                self.refused = true;
                self.refusals += 1;
                return Err(DataplaneError::Kernel {
                    action: format!("{change:?}"),
                    source: io::Error::other("told to fail"),
                });
            }
        }
        self.log.push(change.clone());
        let mut events = Vec::new();
        match change {
            Change::PutLb(lb) => {
                self.view.lbs.insert(lb.index, lb.clone());
            }
            Change::RemoveLb(index) => {
                self.view.lbs.remove(index);
                self.view.tables.remove(index);
            }
            Change::PutListener(listener) => {
                self.view.listeners.insert(listener.key, listener.clone());
            }
            Change::RemoveListener(key) => {
                self.view.listeners.remove(key);
            }
            Change::PutBackend(backend) => {
                let known = self.view.backends.insert(backend.index, backend.clone());
                if known.is_none() {
                    self.books.insert(backend.index, BackendCounters::default());
                    events.push(self.next_hop(backend.index));
                }
            }
            Change::PutTable(index, members) => {
                self.view.tables.insert(*index, members.clone());
            }
            Change::Disown { backend, epoch } => {
                if let Some(view) = self.view.backends.get_mut(backend) {
                    view.epoch = *epoch;
                }
                self.handshakes.remove(backend);
                if self.hold_closes {
                    self.closes.push((*backend, *epoch));
                } else {
                    events.push(self.close(*backend, *epoch));
                }
            }
            Change::RemoveBackend(index) => {
                self.view.backends.remove(index);
                if self.hold_forgotten {
                    self.lingering.push(*index);
                } else {
                    events.push(Event::Forgotten(*index));
                }
            }
        }
        Ok(events)
    }
}

impl Dataplane for MemoryDataplane {
    fn reconcile(&mut self, view: &View) -> Result<(), DataplaneError> {
        let mut inner = self.world.lock();
        let old = std::mem::replace(&mut inner.view, view.clone());
        inner.refused = false;
        inner.flows.retain(|_, flow| {
            old.backends.get(&flow.backend).map(|b| b.address)
                == view.backends.get(&flow.backend).map(|b| b.address)
        });
        let new: Vec<BackendIndex> = view.backends.keys().copied().collect();
        let events = new.into_iter().map(|index| inner.next_hop(index)).collect();
        drop(inner);
        self.world.tell(events);
        Ok(())
    }

    fn sizes(&self) -> TableSizes {
        self.world.lock().sizes
    }

    fn check(&self, changes: &[Change]) -> Result<(), DataplaneError> {
        let inner = self.world.lock();
        let new = changes.iter().filter(|change| match change {
            Change::PutListener(view) => !inner.view.listeners.contains_key(&view.key),
            _ => false,
        });
        let removed = changes.iter().filter(|change| match change {
            Change::RemoveListener(key) => inner.view.listeners.contains_key(key),
            _ => false,
        });
        let used = (inner.view.listeners.len() + new.count()).saturating_sub(removed.count());
        let room = Room {
            what: Counted::Listeners,
            used: u32::try_from(used).unwrap_or(u32::MAX),
            limit: inner.sizes.listeners,
        };
        Ok(room.check()?)
    }

    fn apply(&mut self, changes: &[Change]) -> Result<(), DataplaneError> {
        for change in changes {
            let events = self.world.lock().make(change)?;
            self.world.tell(events);
        }
        Ok(())
    }

    fn counters(&mut self) -> Result<Counters, DataplaneError> {
        let inner = self.world.lock();
        Ok(Counters {
            backends: inner.books.clone(),
            verdicts: BTreeMap::new(),
        })
    }

    fn counters_of(
        &mut self,
        backends: &[BackendIndex],
    ) -> Result<BTreeMap<BackendIndex, BackendCounters>, DataplaneError> {
        let inner = self.world.lock();
        let known = |index: &BackendIndex| Some((*index, *inner.books.get(index)?));
        Ok(backends.iter().filter_map(known).collect())
    }

    fn ties(&mut self, backend: BackendIndex) -> Result<Ties, DataplaneError> {
        let inner = self.world.lock();
        let flows = inner.flows.values().filter(|f| f.backend == backend);
        Ok(Ties {
            flows: flows.count() as u64,
            handshakes: inner.handshakes.get(&backend).copied().unwrap_or(0),
        })
    }

    fn attachments(&self) -> Vec<Attachment> {
        vec![Attachment {
            interface: "mem0".to_owned(),
            hook: Hook::Xdp,
        }]
    }

    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    fn flows(
        &mut self,
        lb: LbIndex,
        backend: Option<BackendIndex>,
        limit: usize,
    ) -> Result<Vec<FlowRecord>, DataplaneError> {
        let inner = self.world.lock();
        let records = inner
            .flows
            .values()
            .filter(|flow| flow.lb == lb && backend.is_none_or(|index| flow.backend == index))
            .take(limit)
            .map(|flow| FlowRecord {
                protocol: flow.key.protocol,
                client: flow.client,
                vip: (flow.key.address, flow.key.port),
                lb: flow.lb,
                backend: flow.backend,
                state: "established",
                age: Duration::ZERO,
                idle: Duration::ZERO,
                bytes: 0,
            });
        Ok(records.collect())
    }
}
