//! The maps of the kernel program, by name and type.

use std::{
    hash::Hash,
    io,
    net::IpAddr,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, Map, MapData},
};
use bytemuck::Pod;
use lb_common::abi::{
    address::{Addr4, Addr6, Address},
    backend::{Backend, LoadBalancer, Slots},
    config::Settings,
    counter::BackendCounters,
    exit::{Exit, RouteKey, RouterKey},
    flow::{Flow, FlowKey},
    half_open::Bucket,
    vip::{Filter, Listener, ListenerIndex, VipKey},
};

use super::{
    half_open::{HalfOpen, HasWays},
    nat_ports::NatPorts,
    table::{OpenError, PerCpu, Table},
};

/// The Maglev tables by load balancer.
pub(super) type Tables = ArrayOfMaps<MapData, Array<MapData, Slots>>;

/// An address family with its maps.
pub(super) trait Family: HasWays + Into<IpAddr> + Hash {
    fn maps(maps: &Maps) -> &FamilyMaps<Self>;
    /// The address, if it is of this family.
    fn of(address: IpAddr) -> Option<Self>;
    fn any(key: FlowKey<Self>) -> AnyKey;
}

/// The key of a flow of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnyKey {
    V4(FlowKey<Addr4>),
    V6(FlowKey<Addr6>),
}

impl Family for Addr4 {
    fn maps(maps: &Maps) -> &FamilyMaps<Self> {
        &maps.v4
    }
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(a) => Some(a.into()),
            IpAddr::V6(_) => None,
        }
    }
    fn any(key: FlowKey<Self>) -> AnyKey {
        AnyKey::V4(key)
    }
}

impl Family for Addr6 {
    fn maps(maps: &Maps) -> &FamilyMaps<Self> {
        &maps.v6
    }
    fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(_) => None,
            IpAddr::V6(a) => Some(a.into()),
        }
    }
    fn any(key: FlowKey<Self>) -> AnyKey {
        AnyKey::V6(key)
    }
}

/// The established flows of one family.
pub(super) type FlowTable<A> = Table<FlowKey<A>, Flow<A>>;

/// The maps that exist once per address family.
pub(super) struct FamilyMaps<A: Address> {
    pub(super) flows: FlowTable<A>,
    pub(super) half_open: HalfOpen<A>,
    pub(super) vips: Table<VipKey<A>, ListenerIndex>,
    pub(super) listeners: Table<u32, Listener<A>>,
    pub(super) nat_pool: Table<u32, A>,
    pub(super) routes: Table<RouteKey<A>, u32>,
}

/// The names of a family's maps, in the order of [`FamilyMaps`].
type FamilyNames = [&'static str; 6];

const NAMES_V4: FamilyNames = [
    "FLOWS_V4",
    "HALF_V4",
    "VIPS_V4",
    "LISTENERS_V4",
    "NAT_POOL_V4",
    "ROUTES_V4",
];
const NAMES_V6: FamilyNames = [
    "FLOWS_V6",
    "HALF_V6",
    "VIPS_V6",
    "LISTENERS_V6",
    "NAT_POOL_V6",
    "ROUTES_V6",
];

pub(super) struct Maps {
    pub(super) v4: FamilyMaps<Addr4>,
    pub(super) v6: FamilyMaps<Addr6>,
    pub(super) filter: Table<u32, Filter>,
    pub(super) lbs: Table<u32, LoadBalancer>,
    pub(super) backends: Table<u32, Backend>,
    pub(super) backend_counters: PerCpu<BackendCounters>,
    pub(super) closed_by_agent: Table<u32, u64>,
    pub(super) table_marks: Table<u32, u64>,
    pub(super) verdicts: PerCpu<u64>,
    pub(super) tc_counts: Table<u32, u32>,
    pub(super) settings: Arc<Table<u32, Settings>>,
    pub(super) nat_ports: NatPorts,
    pub(super) exits: Table<u32, Exit>,
    pub(super) routers: Table<RouterKey, u32>,
    pub(super) interface_by_ifindex: Table<u32, u32>,
}

impl Maps {
    pub(super) fn open(ebpf: &Ebpf) -> Result<Self, OpenError> {
        let settings = Arc::new(table(ebpf, "SETTINGS")?);
        Ok(Self {
            v4: FamilyMaps::open(ebpf, NAMES_V4, &settings)?,
            v6: FamilyMaps::open(ebpf, NAMES_V6, &settings)?,
            filter: table(ebpf, "FILTER")?,
            lbs: table(ebpf, "LBS")?,
            backends: table(ebpf, "BACKENDS")?,
            backend_counters: per_cpu(ebpf, "BACKEND_COUNTERS")?,
            closed_by_agent: table(ebpf, "CLOSED_BY_AGENT")?,
            table_marks: table(ebpf, "TABLE_MARKS")?,
            verdicts: per_cpu(ebpf, "VERDICT_COUNTERS")?,
            tc_counts: table(ebpf, "TC_COUNTS")?,
            nat_ports: NatPorts::open(map(ebpf, "NAT_PORTS")?, "NAT_PORTS")?,
            settings,
            exits: table(ebpf, "EXITS")?,
            routers: table(ebpf, "ROUTERS")?,
            interface_by_ifindex: table(ebpf, "INTERFACE_BY_IFINDEX")?,
        })
    }
}

impl<A: Address> FamilyMaps<A> {
    fn open(
        ebpf: &Ebpf,
        names: FamilyNames,
        settings: &Arc<Table<u32, Settings>>,
    ) -> Result<Self, OpenError>
    where
        FlowKey<A>: Pod,
        Flow<A>: Pod,
        Bucket<A>: Pod,
        VipKey<A>: Pod,
        Listener<A>: Pod,
        RouteKey<A>: Pod,
    {
        let [flows, half, vips, listeners, nat_pool, routes] = names;
        Ok(Self {
            flows: table(ebpf, flows)?,
            half_open: HalfOpen::open(map(ebpf, half)?, half, settings)?,
            vips: table(ebpf, vips)?,
            listeners: table(ebpf, listeners)?,
            nat_pool: table(ebpf, nat_pool)?,
            routes: table(ebpf, routes)?,
        })
    }
}

fn map<'e>(ebpf: &'e Ebpf, name: &'static str) -> Result<&'e Map, OpenError> {
    ebpf.map(name).ok_or(OpenError::Missing(name))
}

fn table<K: Pod, V: Pod>(ebpf: &Ebpf, name: &'static str) -> Result<Table<K, V>, OpenError> {
    Table::open(map(ebpf, name)?, name)
}

fn per_cpu<V: Pod>(ebpf: &Ebpf, name: &'static str) -> Result<PerCpu<V>, OpenError> {
    PerCpu::open(map(ebpf, name)?, name)
}

/// Takes the array of Maglev tables out of `ebpf`: it is written through aya,
/// which knows maps in maps. With the map's descriptor, for more handles of it.
pub(super) fn tables(ebpf: &mut Ebpf) -> Result<(Tables, OwnedFd), OpenError> {
    const NAME: &str = "TABLES";
    let failed = |source| OpenError::Kernel {
        table: NAME,
        source,
    };
    let map = ebpf.take_map(NAME).ok_or(OpenError::Missing(NAME))?;
    let fd = match &map {
        Map::ArrayOfMaps(data) => data.fd().as_fd().try_clone_to_owned().map_err(failed)?,
        _ => return Err(OpenError::Missing(NAME)),
    };
    let tables = Tables::try_from(map).map_err(|error| failed(io::Error::other(error)))?;
    Ok((tables, fd))
}
