//! Which of the maps an address family has: what works on them is written once, over
//! [`Family`].

use aya_ebpf::btf_maps::{Array, LruHashMap, PerCpuArray};
use lb_common::abi::{
    address::{Addr4, Addr6},
    counter::Verdict,
    fragment::{FragmentKey, FragmentPorts},
    path::Path,
};
use lb_ebpf::ip::Ip;

use crate::{
    maps::{self, FlowTable, HalfOpenTable, Listeners, Routes, Vips},
    scratch::Room,
};

/// An address family with its maps.
pub(crate) trait Family: Ip {
    fn flows() -> &'static FlowTable<Self>;
    fn half_open() -> &'static HalfOpenTable<Self>;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FragmentPorts, 16_384>;
    fn paths() -> &'static LruHashMap<Self, Path, 4096>;
    fn routes() -> &'static Routes<Self>;
    fn vips() -> &'static Vips<Self>;
    fn listeners() -> &'static Listeners<Self>;
    fn nat_pool() -> &'static Array<Self, 256>;
    fn room() -> &'static PerCpuArray<Room<Self>, 1>;
}

macro_rules! family {
    ($address:ty, $flows:ident, $half:ident, $fragments:ident, $paths:ident, $routes:ident,
     $vips:ident, $listeners:ident, $pool:ident, $room:ident) => {
        impl Family for $address {
            #[inline(always)]
            fn flows() -> &'static FlowTable<Self> {
                &maps::$flows
            }
            #[inline(always)]
            fn half_open() -> &'static HalfOpenTable<Self> {
                &maps::$half
            }
            #[inline(always)]
            fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FragmentPorts, 16_384> {
                &maps::$fragments
            }
            #[inline(always)]
            fn paths() -> &'static LruHashMap<Self, Path, 4096> {
                &maps::$paths
            }
            #[inline(always)]
            fn routes() -> &'static Routes<Self> {
                &maps::$routes
            }
            #[inline(always)]
            fn vips() -> &'static Vips<Self> {
                &maps::$vips
            }
            #[inline(always)]
            fn listeners() -> &'static Listeners<Self> {
                &maps::$listeners
            }
            #[inline(always)]
            fn nat_pool() -> &'static Array<Self, 256> {
                &maps::$pool
            }
            #[inline(always)]
            fn room() -> &'static PerCpuArray<Room<Self>, 1> {
                &maps::$room
            }
        }
    };
}

family!(
    Addr4,
    FLOWS_V4,
    HALF_V4,
    FRAGMENTS_V4,
    PATHS_V4,
    ROUTES_V4,
    VIPS_V4,
    LISTENERS_V4,
    NAT_POOL_V4,
    ROOM_V4
);
family!(
    Addr6,
    FLOWS_V6,
    HALF_V6,
    FRAGMENTS_V6,
    PATHS_V6,
    ROUTES_V6,
    VIPS_V6,
    LISTENERS_V6,
    NAT_POOL_V6,
    ROOM_V6
);

/// This CPU's room. To be asked for once per function of the slow path.
#[inline(always)]
pub(crate) fn room<A: Family>() -> Result<&'static mut Room<A>, Verdict> {
    let room = A::room().get_ptr_mut(0).ok_or(Verdict::DropInternal)?;
    // SAFETY: this CPU's own value; a packet's way is not interrupted by
    // another packet's, and who asks, asks once.
    Ok(unsafe { &mut *room })
}
