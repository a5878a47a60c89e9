//! What the agent asks of the packet path, and what it hears back.
//!
//! Two implementations: the kernel (`bpf`) and memory (`memory`), which the
//! tests of everything above this line use.
//!
//! A [`View`] is the whole wish; [`Dataplane::reconcile`] makes the kernel
//! agree with it (used at start). After that the control task sends single
//! [`Change`]s, made by the pure planner from the old and the new view. When a
//! call returns, the change is in force for every packet that arrives later.

pub mod bpf;
pub mod memory;

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use crate::model::{
    BackendCounters, BackendIndex, Epoch, Full, Hook, LbIndex, ListenerKey, Mode, NatSource,
    NextHop, Protocol, TableSizes,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LbView {
    pub index: LbIndex,
    pub name: String,
    pub mode: Mode,
    pub idle_timeout: Duration,
    /// Forced closes per second; 0 is no limit.
    pub close_rate: u32,
    pub nat_source: NatSource,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenerView {
    pub key: ListenerKey,
    pub lb: LbIndex,
    pub backend_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendView {
    pub index: BackendIndex,
    pub epoch: Epoch,
    pub lb: LbIndex,
    pub address: IpAddr,
    /// One write in the kernel; in force as soon as the call returns (P1).
    pub takes_new: bool,
    /// It is known not to serve: unhealthy, or out of reach.
    pub fails: bool,
}

/// A member of a load balancer's Maglev table: every *registered* backend,
/// in service or not. Those out of service have their slots filled by the
/// others, without moving anybody else's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub backend: BackendIndex,
    /// What the permutation is derived from: the same on every node.
    pub id: String,
    pub weight: u16,
    pub in_service: bool,
}

/// Everything that the kernel should know.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    pub lbs: BTreeMap<LbIndex, LbView>,
    pub listeners: BTreeMap<ListenerKey, ListenerView>,
    pub backends: BTreeMap<BackendIndex, BackendView>,
    pub tables: BTreeMap<LbIndex, Vec<Member>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    PutLb(LbView),
    RemoveLb(LbIndex),
    PutListener(ListenerView),
    RemoveListener(ListenerKey),
    /// Adds a backend or changes its flag. The epoch only changes by `Disown`.
    PutBackend(BackendView),
    /// Builds the Maglev table anew and swaps it in whole. No members, no
    /// backend in service.
    PutTable(LbIndex, Vec<Member>),
    /// Closes every flow of the backend: RST to both ends of a TCP flow, UDP
    /// forgotten. Paced by the load balancer's `close_rate`. The backend goes
    /// on under the new epoch. Ends with [`Event::Closed`]. With the epoch that
    /// is in force already it goes on with what is left and ends the same way:
    /// after a restart, control says again what has not been answered.
    Disown {
        backend: BackendIndex,
        epoch: Epoch,
    },
    /// The backend has no flows any more. Its lingering entries run out;
    /// [`Event::Forgotten`] says when the index is free. An index that the
    /// kernel does not know is answered so at once: after a restart, control
    /// asks again for those that it has not heard of.
    RemoveBackend(BackendIndex),
}

/// What the data plane has to say by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A `Disown` is done: that many flows were cut.
    Closed {
        backend: BackendIndex,
        epoch: Epoch,
        flows: u64,
    },
    /// Nothing in the kernel names this index any more.
    Forgotten(BackendIndex),
    /// The next hop to a backend is known, or not (with the reason). A backend
    /// without one gets no new flows: the data plane sees to that for one
    /// whose next hop it has not found yet, and control takes `takes_new` and the
    /// slots away when it hears that there is none.
    NextHop {
        backend: BackendIndex,
        next_hop: Result<NextHop, String>,
    },
    /// opened − closed and the table disagree (P9).
    BooksDiffer {
        backend: BackendIndex,
        counted: u64,
        found: u64,
    },
}

/// An interface with the program on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    pub interface: String,
    pub hook: Hook,
}

/// Where a data plane puts its events. It never blocks.
pub type EventSink = Arc<dyn Fn(Event) + Send + Sync>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub backends: BTreeMap<BackendIndex, BackendCounters>,
    /// Packets by verdict, by the verdict's name.
    pub verdicts: BTreeMap<&'static str, u64>,
}

/// How the data plane itself is, as far as the last sweep knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    pub tables: Vec<TableFill>,
    /// Of the targets that have ports in use.
    pub nat_ports: Vec<NatPortFill>,
    /// Rounds of the sweeper since the agent started.
    pub sweeps: u64,
    /// How long the last of them took.
    pub last_sweep: Duration,
}

/// What nat binds ports towards, and from which address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NatTarget {
    pub backend: BackendIndex,
    pub source: IpAddr,
    /// The backend's.
    pub address: IpAddr,
    pub port: u16,
    pub protocol: Protocol,
}

/// How many of the ports towards a target are in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NatPortFill {
    pub target: NatTarget,
    /// With those of other targets, where so many are in use that some share their ports.
    pub used: u64,
    pub limit: u64,
}

impl NatPortFill {
    /// Few are left.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.used * 5 >= self.limit * 4
    }
}

/// How full a table of established flows is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableFill {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    pub entries: u64,
    pub limit: u64,
}

/// What still ties clients to a backend.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ties {
    /// Flows in the table.
    pub flows: u64,
    /// Handshakes begun less than three seconds ago and not yet finished.
    pub handshakes: u64,
}

/// One flow, as `ebb flows` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowRecord {
    pub protocol: Protocol,
    pub client: (IpAddr, u16),
    pub vip: (IpAddr, u16),
    pub lb: LbIndex,
    pub backend: BackendIndex,
    pub state: &'static str,
    pub age: Duration,
    pub idle: Duration,
    pub bytes: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum DataplaneError {
    #[error("{action} failed: {source}")]
    Kernel {
        action: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Full(#[from] Full),
    #[error("{0}")]
    Refused(String),
}

/// The packet path. Calls block (a few system calls each).
pub trait Dataplane: Send {
    /// Makes the kernel agree with `view`, keeping the flows of every backend
    /// whose index, epoch and address are what they were.
    ///
    /// # Errors
    /// When the kernel refuses; what was applied before stays.
    fn reconcile(&mut self, view: &View) -> Result<(), DataplaneError>;

    /// How much its tables hold.
    fn sizes(&self) -> TableSizes;

    /// Whether `changes` fit; asked before anything is written.
    ///
    /// # Errors
    /// [`DataplaneError::Full`] if they do not.
    fn check(&self, changes: &[Change]) -> Result<(), DataplaneError>;

    /// # Errors
    /// When the kernel refuses; the changes before the failing one stay.
    fn apply(&mut self, changes: &[Change]) -> Result<(), DataplaneError>;

    /// # Errors
    /// When a map cannot be read.
    fn counters(&mut self) -> Result<Counters, DataplaneError>;

    /// The counters of these backends alone.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn counters_of(
        &mut self,
        backends: &[BackendIndex],
    ) -> Result<BTreeMap<BackendIndex, BackendCounters>, DataplaneError>;

    /// What still ties clients to `backend`. Exact when it says none: asked
    /// after new flows were stopped, it must count those of packets that were
    /// under way then.
    ///
    /// # Errors
    /// When a map cannot be read.
    fn ties(&mut self, backend: BackendIndex) -> Result<Ties, DataplaneError>;

    /// The interfaces that the program is attached to.
    fn attachments(&self) -> Vec<Attachment>;

    /// What an operator should know and can mend, in whole sentences.
    fn warnings(&self) -> Vec<String>;

    /// For metrics.
    fn gauges(&self) -> Gauges {
        Gauges::default()
    }

    /// At most `limit` flows of a load balancer (and of one backend of it).
    ///
    /// # Errors
    /// When a map cannot be read.
    fn flows(
        &mut self,
        lb: LbIndex,
        backend: Option<BackendIndex>,
        limit: usize,
    ) -> Result<Vec<FlowRecord>, DataplaneError>;
}
