//! The table of half-open flows, as the agent works on it: in its own memory, beside
//! the kernel program. [`lb_common::abi::half_open`] says what it is.

use std::{
    array,
    marker::PhantomData,
    slice,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering, fence},
    },
};

use aya::maps::Map;
use bytemuck::Pod;
use lb_common::{
    abi::{
        address::{Addr4, Addr6, Address},
        config::Settings,
        flow::{Flow, FlowKey},
        half_open::{self, Bucket, Mark, WAYS, Way},
    },
    hash,
};

use super::table::{BATCH, OpenError, Shared, Table, TableError, Walk};

/// One family's table.
pub(super) struct HalfOpen<A: Address> {
    buckets: Shared,
    /// For the seed of the hash.
    settings: Arc<Table<u32, Settings>>,
    family: PhantomData<fn() -> A>,
}

/// A family whose ways can be read.
pub(super) trait HasWays: Address + PartialEq {
    /// A way of the table, of its words.
    fn way(words: &[AtomicU64]) -> Way<Self>;
}

impl HasWays for Addr4 {
    fn way(words: &[AtomicU64]) -> Way<Self> {
        copy(words)
    }
}

impl HasWays for Addr6 {
    fn way(words: &[AtomicU64]) -> Way<Self> {
        copy(words)
    }
}

/// A way of the table and its mark.
struct Place<'t> {
    mark: &'t AtomicU64,
    way: &'t [AtomicU64],
}

impl Place<'_> {
    /// The entry, if there is a whole one, and its mark.
    fn read<A: HasWays>(&self) -> Option<(Mark, FlowKey<A>, Flow<A>)> {
        let mark = Mark(self.mark.load(Ordering::Acquire));
        if !mark.is_whole() {
            return None;
        }
        let way = A::way(self.way);
        // What another flow has written over meanwhile is not an entry: its mark
        // was changed first.
        fence(Ordering::Acquire);
        let after = Mark(self.mark.load(Ordering::Relaxed));
        after.is_of(mark).then_some((after, way.key, way.flow))
    }
}

/// Copies an entry out of the table, word by word: another may be written over it
/// meanwhile.
fn copy<W: Pod>(words: &[AtomicU64]) -> W {
    let mut way = W::zeroed();
    let copied = bytemuck::cast_slice_mut::<_, u64>(slice::from_mut(&mut way));
    for (to, from) in copied.iter_mut().zip(words) {
        *to = from.load(Ordering::Relaxed);
    }
    way
}

impl<A: Address> HalfOpen<A> {
    const BUCKET: usize = size_of::<Bucket<A>>() / size_of::<u64>();
    const WAY: usize = size_of::<Way<A>>() / size_of::<u64>();

    pub(super) fn open(
        map: &Map,
        name: &'static str,
        settings: &Arc<Table<u32, Settings>>,
    ) -> Result<Self, OpenError>
    where
        Bucket<A>: Pod,
    {
        Ok(Self {
            buckets: Shared::open::<Bucket<A>>(map, name)?,
            settings: Arc::clone(settings),
            family: PhantomData,
        })
    }
}

impl<A: HasWays> HalfOpen<A> {
    fn bucket(&self, index: u32) -> [Place<'_>; WAYS] {
        let words = &self.buckets.words()[index as usize * Self::BUCKET..][..Self::BUCKET];
        let (marks, ways) = words.split_at(WAYS);
        array::from_fn(|number| Place {
            mark: &marks[number],
            way: &ways[number * Self::WAY..][..Self::WAY],
        })
    }

    /// The entry of a key, with its place and its mark.
    fn find(&self, key: &FlowKey<A>) -> Result<Option<(Place<'_>, Mark, Flow<A>)>, TableError> {
        let hash = half_open::hash(key, self.settings.at(0)?.nat_seed);
        let index = hash::below(hash, self.buckets.len()) as u32;
        let found = self.bucket(index).into_iter().find_map(|place| {
            let (mark, found, flow) = place.read()?;
            (found == *key).then_some((place, mark, flow))
        });
        Ok(found)
    }

    pub(super) fn get(&self, key: &FlowKey<A>) -> Result<Option<Flow<A>>, TableError> {
        Ok(self.find(key)?.map(|(_, _, flow)| flow))
    }

    /// Takes an entry out if `is` says that it is the one.
    pub(super) fn take_if(
        &self,
        key: &FlowKey<A>,
        is: impl Fn(&Flow<A>) -> bool,
    ) -> Result<Option<Flow<A>>, TableError> {
        while let Some((place, mark, flow)) = self.find(key)? {
            if !is(&flow) {
                return Ok(None);
            }
            let (release, relaxed) = (Ordering::AcqRel, Ordering::Relaxed);
            let free = mark.free().0;
            let exchanged = place.mark.compare_exchange(mark.0, free, release, relaxed);
            if exchanged.is_ok() {
                return Ok(Some(flow));
            }
            // A packet has looked it up in this very moment, or taken it out.
        }
        Ok(None)
    }

    /// The next batch of a walk.
    pub(super) fn read(&self, walk: &mut Walk<FlowKey<A>, Flow<A>>) {
        walk.advance(self.buckets.len(), |index, keys, flows| {
            // Most have no entry, and their marks say so.
            let marks = &self.buckets.words()[index as usize * Self::BUCKET..][..WAYS];
            let is_whole = |mark: &AtomicU64| Mark(mark.load(Ordering::Acquire)).is_whole();
            if !marks.iter().any(is_whole) {
                return;
            }
            for (_, key, flow) in self.bucket(index).iter().filter_map(Place::read) {
                keys.push(key);
                flows.push(flow);
            }
        });
    }

    /// Calls `visit` with every entry.
    pub(super) fn each(&self, mut visit: impl FnMut(&FlowKey<A>, &Flow<A>)) {
        let mut walk = Walk::new(BATCH);
        while !walk.is_done() {
            self.read(&mut walk);
            for (key, flow) in walk.batch() {
                visit(key, flow);
            }
        }
    }
}
