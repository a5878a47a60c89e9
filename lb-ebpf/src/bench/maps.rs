//! The bench's maps.

use aya_ebpf::{
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray},
    macros::btf_map,
};
use lb_common::abi::{address::Addr4, flow::FlowKey};

use crate::packet::Original;

/// The flows of the baseline; each has the value 1.
#[btf_map]
pub(crate) static BASELINE: LruHashMap<FlowKey<Addr4>, u64, 262_144> = LruHashMap::new();

/// Packets whose flow the baseline did not find.
#[btf_map]
pub(crate) static MISSED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Where a front program goes on to.
#[btf_map]
pub(crate) static UNDER_TEST: ProgramArray<1> = ProgramArray::new();

/// The packet that a front program brings back.
#[btf_map]
pub(crate) static ORIGINAL: Array<Original, 1> = Array::new();

/// The number of the next flow in rotation, and how many there are.
#[btf_map]
pub(crate) static ROTATION: Array<[u32; 2], 1> = Array::new();

/// Packets that the sink took.
#[btf_map]
pub(crate) static ARRIVED: PerCpuArray<u64, 1> = PerCpuArray::new();

/// Packets that [`super::resets`] has counted: of the flows' clients, and to them.
#[btf_map]
pub(crate) static RESETS: PerCpuArray<u64, 2> = PerCpuArray::new();

/// The length of a VIP's ring.
pub(crate) const RING: u32 = 65_537;
/// How many VIPs there can be.
const VIPS: u32 = 4;
/// How many backends.
const REALS: u32 = 4096;

/// A flow, of either family: an address of IPv4 is the first word.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Key {
    pub(crate) source: [u32; 4],
    pub(crate) destination: [u32; 4],
    pub(crate) ports: u32,
    pub(crate) protocol: u32,
}

/// What a packet is for.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Vip {
    pub(crate) address: [u32; 4],
    /// As on the wire.
    pub(crate) port: u32,
    pub(crate) protocol: u32,
}

/// A backend.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Real {
    pub(crate) address: [u32; 4],
    pub(crate) source: [u32; 4],
    /// Not 0: by a tunnel.
    pub(crate) tunnel: u32,
}

/// Packets and bytes.
#[derive(Clone, Copy)]
#[repr(C)]
pub(crate) struct Stats {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
}

/// The [forerunner](super::forerunner)'s VIPs, by their numbers.
#[btf_map]
pub(crate) static FORERUNNER_VIPS: HashMap<Vip, u32, 512> = HashMap::new();
/// Its flows: the backend's number.
#[btf_map]
pub(crate) static FORERUNNER_FLOWS: LruHashMap<Key, u64, 262_144> = LruHashMap::new();
#[btf_map]
pub(crate) static FORERUNNER_RINGS: Array<u32, { (RING * VIPS) as usize }> = Array::new();
#[btf_map]
pub(crate) static FORERUNNER_REALS: Array<Real, { REALS as usize }> = Array::new();
/// The MAC addresses, destination and source, of what it sends.
#[btf_map]
pub(crate) static FORERUNNER_MACS: Array<[u32; 3], 1> = Array::new();
#[btf_map]
pub(crate) static FORERUNNER_VIP_STATS: PerCpuArray<Stats, { VIPS as usize }> = PerCpuArray::new();
#[btf_map]
pub(crate) static FORERUNNER_TABLE_STATS: PerCpuArray<Stats, 1> = PerCpuArray::new();
#[btf_map]
pub(crate) static FORERUNNER_REAL_STATS: PerCpuArray<Stats, { REALS as usize }> =
    PerCpuArray::new();
