//! Every map, and nothing else.
//!
//! Sizes are those of [`limits`], unless whoever loads the program says
//! otherwise; nothing in the program goes by them.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, ArrayOfMaps, HashMap, LpmTrie, LruHashMap, PerCpuArray},
    macros::btf_map,
};
use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        backend::{Backend, LoadBalancer, SLOTS_LEN},
        config::{MAX_INTERFACES, MAX_NAT_POOL, Settings},
        counter::{BackendCounters, VERDICTS},
        exit::{Exit, MAX_EXITS, MAX_ROUTES, Reach, RouterKey},
        flow::{Flow, FlowKey},
        fragment::{FragmentKey, FragmentPorts},
        half_open::{self, Bucket},
        nat_port,
        path::Path,
        rate::{KINDS, Rate},
        vip::{Filter, Listener, ListenerIndex, VipKey},
    },
    limits,
};
use lb_ebpf::hook::Tail;

use crate::scratch::Room;

/// Established flows of a family.
pub(crate) type FlowTable<A> = HashMap<FlowKey<A>, Flow<A>, { limits::FLOWS as usize }>;
/// Half-open flows of a family.
pub(crate) type HalfOpenTable<A> =
    Array<Bucket<A>, { BUCKETS as usize }, { BPF_F_MMAPABLE as usize }>;
/// The buckets of each table of half-open flows.
pub(crate) const BUCKETS: u32 = half_open::buckets(limits::HALF_OPEN);

/// The rows of nat ports.
pub(crate) const NAT_PORT_ROWS: u32 = limits::nat_port_rows(limits::FLOWS);

/// What a packet to one of our addresses is looked up in.
pub(crate) type Vips<A> =
    HashMap<VipKey<A>, ListenerIndex, { limits::vip_entries(limits::LISTENERS) as usize }>;
/// The rows of listeners.
pub(crate) type Listeners<A> =
    Array<Listener<A>, { limits::listener_rows(limits::LISTENERS) as usize }>;

/// Ways out by address.
pub(crate) type Routes<A> = LpmTrie<Reach<A>, u32, { MAX_ROUTES as usize }>;

/// Established flows. Plain hashes: they never evict (P6).
#[btf_map]
pub(crate) static FLOWS_V4: FlowTable<Addr4> = HashMap::new();
#[btf_map]
pub(crate) static FLOWS_V6: FlowTable<Addr6> = HashMap::new();

/// Half-open and unanswered flows, in buckets: see [`crate::half_open`]. They
/// evict, and only each other.
#[btf_map]
pub(crate) static HALF_V4: HalfOpenTable<Addr4> = Array::new();
#[btf_map]
pub(crate) static HALF_V6: HalfOpenTable<Addr6> = Array::new();

/// What the fragments of a datagram follow.
#[btf_map]
pub(crate) static FRAGMENTS_V4: LruHashMap<FragmentKey<Addr4>, FragmentPorts, 16_384> =
    LruHashMap::new();
#[btf_map]
pub(crate) static FRAGMENTS_V6: LruHashMap<FragmentKey<Addr6>, FragmentPorts, 16_384> =
    LruHashMap::new();

/// Which addresses may be ours at all.
#[btf_map]
pub(crate) static FILTER: Array<Filter, 1> = Array::new();

/// VIPs, listeners and nat sources by address, port and protocol.
#[btf_map]
pub(crate) static VIPS_V4: Vips<Addr4> = HashMap::new();
#[btf_map]
pub(crate) static VIPS_V6: Vips<Addr6> = HashMap::new();

/// Listeners by index.
#[btf_map]
pub(crate) static LISTENERS_V4: Listeners<Addr4> = Array::new();
#[btf_map]
pub(crate) static LISTENERS_V6: Listeners<Addr6> = Array::new();

#[btf_map]
pub(crate) static LBS: Array<LoadBalancer, { limits::LOAD_BALANCERS as usize }> = Array::new();

/// The Maglev tables, by load balancer; each is swapped whole. An inner map's
/// value is `Slots` to the agent, and here the array alone: Linux 6.1 takes a map
/// that was made without BTF for another kind than one whose value is a struct.
#[btf_map]
pub(crate) static TABLES: ArrayOfMaps<
    Array<[u16; SLOTS_LEN], 1>,
    { limits::table_rows(limits::LOAD_BALANCERS) as usize },
> = ArrayOfMaps::new();

/// What each of them was made of. Only the agent writes and reads it; it is a map
/// so that it outlives the agent.
#[btf_map]
pub(crate) static TABLE_MARKS: Array<u64, { limits::LOAD_BALANCERS as usize }> = Array::new();

#[btf_map]
pub(crate) static BACKENDS: Array<Backend, { limits::BACKENDS as usize }> = Array::new();

/// One row per backend; the agent's own closes are in `CLOSED_BY_AGENT`.
#[btf_map]
pub(crate) static BACKEND_COUNTERS: PerCpuArray<BackendCounters, { limits::BACKENDS as usize }> =
    PerCpuArray::new();

/// Flows that the agent took out of the table, per backend. Only the agent
/// writes here; it is a map so that it outlives the agent.
#[btf_map]
pub(crate) static CLOSED_BY_AGENT: Array<u64, { limits::BACKENDS as usize }> = Array::new();

#[btf_map]
pub(crate) static VERDICT_COUNTERS: PerCpuArray<u64, { VERDICTS as usize }> = PerCpuArray::new();

/// Not 0 where the programs at XDP have one at TC behind them, which counts what they pass.
/// The agent writes it.
#[btf_map]
pub(crate) static TC_COUNTS: Array<u32, 1> = Array::new();

/// The last jiffy that a packet saw, and the time in ticks then (see
/// [`crate::clock`]).
#[btf_map]
pub(crate) static CLOCK: Array<u64, 1> = Array::new();

#[btf_map]
pub(crate) static SETTINGS: Array<Settings, 1> = Array::new();

/// The ways out to clients: the interfaces that the program is attached to, by our own
/// index, and after them the routers.
#[btf_map]
pub(crate) static EXITS: Array<Exit, { MAX_EXITS as usize }> = Array::new();
/// The way out that belongs to a MAC address: what it sends comes from that router.
#[btf_map]
pub(crate) static ROUTERS: HashMap<RouterKey, u32, { MAX_EXITS as usize }> = HashMap::new();
/// Routes of the host that leave by these interfaces: the way out to an address.
#[btf_map]
pub(crate) static ROUTES_V4: Routes<Addr4> = LpmTrie::new();
#[btf_map]
pub(crate) static ROUTES_V6: Routes<Addr6> = LpmTrie::new();
/// Our index of an interface, by the kernel's.
#[btf_map]
pub(crate) static INTERFACE_BY_IFINDEX: HashMap<u32, u32, { MAX_INTERFACES as usize }> =
    HashMap::new();

/// Source addresses for nat, where a pool is configured.
#[btf_map]
pub(crate) static NAT_POOL_V4: Array<Addr4, { MAX_NAT_POOL as usize }> = Array::new();
#[btf_map]
pub(crate) static NAT_POOL_V6: Array<Addr6, { MAX_NAT_POOL as usize }> = Array::new();

/// Which ports nat has bound, of both families: see [`crate::nat_port`].
#[btf_map]
pub(crate) static NAT_PORTS: Array<
    nat_port::Row,
    { NAT_PORT_ROWS as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

/// How long a datagram to a client may be, where an ICMP error has told (nat).
#[btf_map]
pub(crate) static PATHS_V4: LruHashMap<Addr4, Path, 4096> = LruHashMap::new();
#[btf_map]
pub(crate) static PATHS_V6: LruHashMap<Addr6, Path, 4096> = LruHashMap::new();
/// The last that was learnt of any path: where that is old, nobody has to look.
#[btf_map]
pub(crate) static LAST_PATH: Array<Path, 1> = Array::new();

/// How many answers of each kind were sent in the current second.
#[btf_map]
pub(crate) static RATES: PerCpuArray<Rate, { KINDS as usize }> = PerCpuArray::new();

/// The end of a packet that goes in two. Nothing in it outlives a packet.
#[btf_map]
pub(crate) static ROOM_TAIL: PerCpuArray<Tail, 1> = PerCpuArray::new();

/// Room for the slow path; nothing in it outlives a packet.
#[btf_map]
pub(crate) static ROOM_V4: PerCpuArray<Room<Addr4>, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static ROOM_V6: PerCpuArray<Room<Addr6>, 1> = PerCpuArray::new();
