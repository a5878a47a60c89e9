//! Programs that are loaded already, for the next test that wants one.
//!
//! To load a program takes the verifier far longer than most tests take to send their
//! packets, under an emulated processor ten seconds. So a test that has passed gives
//! back what it had, and the next one gets it with every map as it was at first.

use std::{
    ops::{Deref, DerefMut},
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
};

use aya::maps::{LpmTrie, MapData, PerCpuArray, PerCpuValues};
use bytemuck::Zeroable;
use lb_common::abi::{
    address::{Addr4, Addr6},
    backend::{Backend, LoadBalancer},
    config::Settings,
    counter::BackendCounters,
    exit::{Exit, Reach, RouterKey},
    flow::{Flow, FlowKey},
    fragment::{FragmentKey, FragmentPorts},
    half_open::Bucket,
    path::Path,
    rate::Rate,
    vip::{Filter, Listener, ListenerIndex, VipKey},
};
use tests::{
    filled::{Filled, Room},
    hook::Hook,
};

/// What nobody has now, by the room that it has.
static IDLE: Mutex<Vec<(Room, Filled)>> = Mutex::new(Vec::new());

/// A program that is one test's until it is dropped.
pub(crate) struct Loaded {
    /// `None` while it is dropped.
    filled: Option<Filled>,
    room: Room,
}

impl Loaded {
    /// The program of the run's hook with this room, its maps empty but for an interface.
    pub(crate) fn get(room: Room, interface: Exit) -> Self {
        let used = {
            let mut idle = idle();
            let at = idle.iter().position(|(of, _)| *of == room);
            at.map(|at| idle.swap_remove(at).1)
        };
        let filled = match used {
            Some(mut filled) => {
                forget(&mut filled);
                filled.begin(interface).expect("writable tables");
                filled
            }
            None => {
                let object = lb_userspace::object::OBJECT;
                Filled::load(object, Hook::of_run(), room, interface)
                    .expect("the kernel takes the program")
            }
        };
        Self {
            filled: Some(filled),
            room,
        }
    }
}

impl Deref for Loaded {
    type Target = Filled;

    fn deref(&self) -> &Filled {
        self.filled.as_ref().expect("not dropped yet")
    }
}

impl DerefMut for Loaded {
    fn deref_mut(&mut self) -> &mut Filled {
        self.filled.as_mut().expect("not dropped yet")
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // What a failed test has left is no ground for another.
        if let Some(filled) = self.filled.take().filter(|_| !thread::panicking()) {
            idle().push((self.room, filled));
        }
    }
}

fn idle() -> MutexGuard<'static, Vec<(Room, Filled)>> {
    // A list is whole whoever panicked while it was locked.
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes every map what it was before anybody wrote to it.
fn forget(filled: &mut Filled) {
    for name in filled.maps() {
        match &*name {
            "FLOWS_V4" => remove_all::<FlowKey<Addr4>, Flow<Addr4>>(filled, &name),
            "FLOWS_V6" => remove_all::<FlowKey<Addr6>, Flow<Addr6>>(filled, &name),
            "FRAGMENTS_V4" => remove_all::<FragmentKey<Addr4>, FragmentPorts>(filled, &name),
            "FRAGMENTS_V6" => remove_all::<FragmentKey<Addr6>, FragmentPorts>(filled, &name),
            "VIPS_V4" => remove_all::<VipKey<Addr4>, ListenerIndex>(filled, &name),
            "VIPS_V6" => remove_all::<VipKey<Addr6>, ListenerIndex>(filled, &name),
            "PATHS_V4" => remove_all::<Addr4, Path>(filled, &name),
            "PATHS_V6" => remove_all::<Addr6, Path>(filled, &name),
            "ROUTERS" => remove_all::<RouterKey, u32>(filled, &name),
            "INTERFACE_BY_IFINDEX" => remove_all::<u32, u32>(filled, &name),
            "ROUTES_V4" => remove_routes::<Addr4>(filled, &name),
            "ROUTES_V6" => remove_routes::<Addr6>(filled, &name),
            "HALF_V4" => zero::<Bucket<Addr4>>(filled, &name),
            "HALF_V6" => zero::<Bucket<Addr6>>(filled, &name),
            "FILTER" => zero::<Filter>(filled, &name),
            "LISTENERS_V4" => zero::<Listener<Addr4>>(filled, &name),
            "LISTENERS_V6" => zero::<Listener<Addr6>>(filled, &name),
            "LBS" => zero::<LoadBalancer>(filled, &name),
            "BACKENDS" => zero::<Backend>(filled, &name),
            "SETTINGS" => zero::<Settings>(filled, &name),
            "EXITS" => zero::<Exit>(filled, &name),
            "NAT_POOL_V4" => zero::<Addr4>(filled, &name),
            "NAT_POOL_V6" => zero::<Addr6>(filled, &name),
            "LAST_PATH" => zero::<Path>(filled, &name),
            "TC_COUNTS" => zero::<u32>(filled, &name),
            "TABLE_MARKS" | "CLOSED_BY_AGENT" | "CLOCK" => zero::<u64>(filled, &name),
            "BACKEND_COUNTERS" => zero_per_cpu::<BackendCounters>(filled, &name),
            "VERDICT_COUNTERS" => zero_per_cpu::<u64>(filled, &name),
            "RATES" => zero_per_cpu::<Rate>(filled, &name),
            // Whoever begins writes the ports by its settings.
            "NAT_PORTS" => {}
            // Every world has the same load balancers, and writes their tables.
            "TABLES" => {}
            // Where a packet's own words are put while it is worked on.
            "ROOM_TAIL" | "ROOM_V4" | "ROOM_V6" => {}
            // What is said to the agent's log.
            "AYA_LOGS" => {}
            constant if constant.starts_with(".rodata") => {}
            other => panic!("say here how {other} is made as new"),
        }
    }
}

/// Removes every entry of a hash table.
pub(crate) fn remove_all<K: aya::Pod, V: aya::Pod>(filled: &mut Filled, name: &str) {
    let mut table = filled.hash::<K, V>(name).expect("a hash table");
    let keys: Vec<K> = table.keys().map(|k| k.expect("a readable table")).collect();
    for key in keys {
        table.remove(&key).expect("nobody else removes");
    }
}

fn remove_routes<A>(filled: &mut Filled, name: &str)
where
    Reach<A>: aya::Pod,
{
    let mut routes: LpmTrie<&mut MapData, Reach<A>, u32> = filled.routes(name).expect("routes");
    let keys: Vec<_> = routes.keys().map(|k| k.expect("readable routes")).collect();
    for key in keys {
        routes.remove(&key).expect("nobody else removes");
    }
}

/// Makes every row of an array zero.
pub(crate) fn zero<T: aya::Pod + Zeroable>(filled: &mut Filled, name: &str) {
    let mut array = filled.array::<T>(name).expect("an array");
    for index in 0..array.len() {
        array.set(index, T::zeroed(), 0).expect("a writable table");
    }
}

/// As [`zero`], for all CPUs.
pub(crate) fn zero_per_cpu<T: aya::Pod + Zeroable>(filled: &mut Filled, name: &str) {
    let cpus = aya::util::nr_cpus().expect("a number of CPUs");
    let mut array: PerCpuArray<_, T> = filled.per_cpu(name).expect("an array");
    for index in 0..array.len() {
        let none = PerCpuValues::try_from(vec![T::zeroed(); cpus]).expect("one for each");
        array.set(index, none, 0).expect("a writable table");
    }
}
