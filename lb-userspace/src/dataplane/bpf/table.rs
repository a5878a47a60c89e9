//! Typed handles of the maps.
//!
//! aya's own handles ask for `&mut self` to write, although a map is shared by
//! its nature: the kernel program, the control task and the sweeper all work on
//! it at once. These take `&self`, and also read in batches and take entries
//! out, which aya does not.

use std::{
    collections::BTreeMap,
    io,
    marker::PhantomData,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::AtomicU64,
};

use aya::maps::{Map, MapData};
use bytemuck::Pod;

use super::syscall::{self, Mapped, Over};
use crate::dataplane::DataplaneError;

/// A call about a map failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {table} in the kernel: {source}")]
pub struct TableError {
    pub table: &'static str,
    pub action: &'static str,
    pub max_entries: u32,
    pub source: io::Error,
}

impl From<TableError> for DataplaneError {
    fn from(error: TableError) -> Self {
        Self::Kernel {
            action: format!("to {} the kernel's table {}", error.action, error.table),
            source: error.source,
        }
    }
}

/// Why a map of the kernel program is not the one that the agent expects.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the kernel program has no map {0}; it was built from other sources than this binary")]
    Missing(&'static str),
    #[error(
        "the map {table} has keys of {key} and values of {value} bytes, not {expected_key} and \
         {expected_value}; the kernel program was built from other sources than this binary"
    )]
    Size {
        table: &'static str,
        key: u32,
        value: u32,
        expected_key: usize,
        expected_value: usize,
    },
    #[error("cannot open the map {table}: {source}")]
    Kernel {
        table: &'static str,
        source: io::Error,
    },
}

/// What all handles have.
struct Handle {
    fd: OwnedFd,
    name: &'static str,
    max_entries: u32,
}

impl Handle {
    fn open(
        map: &Map,
        name: &'static str,
        expected_key: usize,
        expected_value: usize,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::Kernel {
            table: name,
            source,
        };
        let data = data(map).ok_or(OpenError::Missing(name))?;
        let info = data.info().map_err(|e| failed(io::Error::other(e)))?;
        let (key, value) = (info.key_size(), info.value_size());
        if key as usize != expected_key || value as usize != expected_value {
            return Err(OpenError::Size {
                table: name,
                key,
                value,
                expected_key,
                expected_value,
            });
        }
        Ok(Self {
            fd: data.fd().as_fd().try_clone_to_owned().map_err(failed)?,
            name,
            max_entries: info.max_entries(),
        })
    }

    fn error(&self, action: &'static str) -> impl FnOnce(io::Error) -> TableError {
        let (table, max_entries) = (self.name, self.max_entries);
        move |source| TableError {
            table,
            action,
            max_entries,
            source,
        }
    }
}

/// The kinds of maps that ebb has, apart from the array of maps.
fn data(map: &Map) -> Option<&MapData> {
    match map {
        Map::Array(data)
        | Map::HashMap(data)
        | Map::LpmTrie(data)
        | Map::LruHashMap(data)
        | Map::PerCpuArray(data) => Some(data),
        _ => None,
    }
}

/// A hash map, a trie or an array (whose keys are `u32`).
///
/// Only [`Self::open`] makes one. It asks for plain types of the map's sizes,
/// which is what the calls below rest on.
pub(super) struct Table<K, V> {
    handle: Handle,
    types: PhantomData<fn() -> (K, V)>,
}

impl<K: Pod, V: Pod> Table<K, V> {
    pub(super) fn open(map: &Map, name: &'static str) -> Result<Self, OpenError> {
        Ok(Self {
            handle: Handle::open(map, name, size_of::<K>(), size_of::<V>())?,
            types: PhantomData,
        })
    }
}

impl<K, V> Table<K, V> {
    fn fd(&self) -> BorrowedFd<'_> {
        self.handle.fd.as_fd()
    }

    pub(super) fn max_entries(&self) -> u32 {
        self.handle.max_entries
    }

    pub(super) fn get(&self, key: &K) -> Result<Option<V>, TableError> {
        // SAFETY: `open` has compared the sizes, and `V` is plain.
        unsafe { syscall::lookup_one(self.fd(), key) }.map_err(self.handle.error("read"))
    }

    pub(super) fn put(&self, key: &K, value: &V) -> Result<(), TableError> {
        let value = std::slice::from_ref(value);
        // SAFETY: `open` has compared the sizes.
        unsafe { syscall::update(self.fd(), key, value, Over::Anything) }
            .map_err(self.handle.error("write to"))
    }

    /// Writes over an entry that is there; false if there is none.
    pub(super) fn replace(&self, key: &K, value: &V) -> Result<bool, TableError> {
        let value = std::slice::from_ref(value);
        // SAFETY: `open` has compared the sizes.
        match unsafe { syscall::update(self.fd(), key, value, Over::Existing) } {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(self.handle.error("write to")(error)),
        }
    }

    /// Puts back what [`Self::take`] took, unless there is something else now.
    pub(super) fn restore(&self, key: &K, value: &V) -> Result<(), TableError> {
        let value = std::slice::from_ref(value);
        // SAFETY: `open` has compared the sizes.
        match unsafe { syscall::update(self.fd(), key, value, Over::Nothing) } {
            Err(error) if error.raw_os_error() != Some(libc::EEXIST) => {
                Err(self.handle.error("write to")(error))
            }
            _ => Ok(()),
        }
    }

    /// False if there was nothing to delete.
    pub(super) fn delete(&self, key: &K) -> Result<bool, TableError> {
        // SAFETY: `open` has compared the sizes.
        unsafe { syscall::delete(self.fd(), key) }.map_err(self.handle.error("delete from"))
    }

    /// Deletes and says what it was: who gets the value was the one to delete
    /// it.
    pub(super) fn take(&self, key: &K) -> Result<Option<V>, TableError> {
        // SAFETY: `open` has compared the sizes, and `V` is plain.
        unsafe { syscall::take(self.fd(), key) }.map_err(self.handle.error("take from"))
    }

    /// The next batch of a walk; empty at its end.
    pub(super) fn read<'w>(
        &self,
        walk: &'w mut Walk<K, V>,
    ) -> Result<impl Iterator<Item = (&'w K, &'w V)> + use<'w, K, V>, TableError> {
        walk.keys.clear();
        walk.values.clear();
        while walk.keys.is_empty() && !walk.is_done() {
            walk.keys.reserve(walk.room);
            walk.values.reserve(walk.room);
            // SAFETY: `open` has compared the sizes, the types are plain, and
            // there is room for `room` entries.
            let next = unsafe {
                syscall::lookup_batch(
                    self.fd(),
                    walk.position.start(),
                    walk.room,
                    1,
                    &mut walk.keys,
                    &mut walk.values,
                )
            };
            match next {
                Ok(next) => walk.position = next.map_or(Position::End, Position::At),
                // One bucket holds more than there is room for.
                Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => walk.room *= 2,
                Err(error) => return Err(self.handle.error("read")(error)),
            }
        }
        Ok(walk.keys.iter().zip(&walk.values))
    }

    /// Calls `visit` with every entry.
    pub(super) fn each(&self, mut visit: impl FnMut(&K, &V)) -> Result<(), TableError> {
        let mut walk = Walk::new(BATCH);
        while !walk.is_done() {
            for (key, value) in self.read(&mut walk)? {
                visit(key, value);
            }
        }
        Ok(())
    }
}

impl<K: Pod + Ord, V: Pod> Table<K, V> {
    /// All entries of a small table, one by one: a trie cannot be read in batches.
    pub(super) fn entries(&self) -> Result<BTreeMap<K, V>, TableError> {
        let mut entries = BTreeMap::new();
        let mut last = None;
        // SAFETY: `open` has compared the sizes, and `K` is plain.
        while let Some(key) = unsafe { syscall::next_key::<K>(self.fd(), last.as_ref()) }
            .map_err(self.handle.error("read"))?
        {
            if let Some(value) = self.get(&key)? {
                entries.insert(key, value);
            }
            last = Some(key);
        }
        Ok(entries)
    }
}

impl<V: Pod> Table<u32, V> {
    /// `count` elements of an array, from `first` on.
    pub(super) fn range(&self, first: u32, count: u32) -> Result<Vec<V>, TableError> {
        let count = count.min(self.handle.max_entries.saturating_sub(first)) as usize;
        let (mut indices, mut values) = (Vec::with_capacity(count), Vec::with_capacity(count));
        if count > 0 {
            // SAFETY: `open` has compared the sizes, the types are plain, and
            // there is room for `count` elements.
            unsafe {
                syscall::lookup_batch::<u32, V>(
                    self.fd(),
                    before(first),
                    count,
                    1,
                    &mut indices,
                    &mut values,
                )
            }
            .map_err(self.handle.error("read"))?;
        }
        Ok(values)
    }
}

impl<V> Table<u32, V> {
    /// An element of an array, which always exists.
    pub(super) fn at(&self, index: u32) -> Result<V, TableError> {
        self.get(&index)?.ok_or_else(|| {
            self.handle.error("read")(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no element {index}"),
            ))
        })
    }
}

/// Where a batch begins whose first element is this one of an array: behind the one
/// before.
fn before(first: u32) -> Option<u32> {
    first.checked_sub(1)
}

/// Entries per system call: enough to make the call cheap, few enough to stay
/// in the cache.
pub(super) const BATCH: usize = 1024;

/// Where a walk through a map is, and the batch that it has just read.
///
/// A walk meets every entry that is in the map from its beginning to its end.
/// One that comes or goes meanwhile may or may not be met.
pub(super) struct Walk<K, V> {
    keys: Vec<K>,
    values: Vec<V>,
    room: usize,
    position: Position,
}

enum Position {
    Start,
    At(u32),
    End,
}

impl Position {
    fn start(&self) -> Option<u32> {
        match self {
            Self::Start | Self::End => None,
            Self::At(next) => Some(*next),
        }
    }
}

impl<K, V> Walk<K, V> {
    /// `room` is how many entries to read at once, at least.
    pub(super) fn new(room: usize) -> Self {
        Self {
            keys: Vec::new(),
            values: Vec::new(),
            room: room.max(1),
            position: Position::Start,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.position, Position::End)
    }

    /// What was read last.
    pub(super) fn batch(&self) -> impl Iterator<Item = (&K, &V)> {
        self.keys.iter().zip(&self.values)
    }

    /// Reads the next batch by the elements of an array of `len`, as many of them
    /// as make a batch. `read` takes an element's index and what the batch grows
    /// by.
    pub(super) fn advance(
        &mut self,
        len: u32,
        mut read: impl FnMut(u32, &mut Vec<K>, &mut Vec<V>),
    ) {
        self.keys.clear();
        self.values.clear();
        let mut next = match self.position {
            Position::Start => 0,
            Position::At(next) => next,
            Position::End => len,
        };
        while next < len && self.keys.len() < self.room {
            read(next, &mut self.keys, &mut self.values);
            next += 1;
        }
        self.position = if next < len {
            Position::At(next)
        } else {
            Position::End
        };
    }
}

/// An array of words that lies in this process's memory too.
pub(super) struct Shared {
    words: Mapped,
    handle: Handle,
}

impl Shared {
    /// The array's values are of the size of `V`, which is whole words.
    pub(super) fn open<V: Pod>(map: &Map, name: &'static str) -> Result<Self, OpenError> {
        const { assert!(size_of::<V>().is_multiple_of(size_of::<u64>())) };
        let handle = Handle::open(map, name, size_of::<u32>(), size_of::<V>())?;
        let count = handle.max_entries as usize * (size_of::<V>() / size_of::<u64>());
        let words = Mapped::open(handle.fd.as_fd(), count).map_err(|source| OpenError::Kernel {
            table: name,
            source,
        })?;
        Ok(Self { words, handle })
    }

    pub(super) fn words(&self) -> &[AtomicU64] {
        &self.words
    }

    /// How many values there are.
    pub(super) fn len(&self) -> u32 {
        self.handle.max_entries
    }
}

/// Rows of an array with one value per CPU and index.
pub(super) struct Rows<V> {
    values: Vec<V>,
    cpus: usize,
}

impl<V> Rows<V> {
    /// The row's values, one for each CPU; none if it was not asked for.
    pub(super) fn row(&self, index: usize) -> &[V] {
        let first = index * self.cpus;
        self.values
            .get(first..first + self.cpus)
            .unwrap_or_default()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[V]> {
        self.values.chunks(self.cpus)
    }
}

/// An array with one value per CPU and index.
pub(super) struct PerCpu<V> {
    handle: Handle,
    cpus: usize,
    types: PhantomData<fn() -> V>,
}

impl<V: Pod> PerCpu<V> {
    /// The kernel pads values to eight bytes; ours have that size anyway.
    const PADDED: () = assert!(size_of::<V>().is_multiple_of(8));

    pub(super) fn open(map: &Map, name: &'static str) -> Result<Self, OpenError> {
        const { Self::PADDED };
        let cpus = aya::util::nr_cpus().map_err(|(_, source)| OpenError::Kernel {
            table: name,
            source,
        })?;
        Ok(Self {
            handle: Handle::open(map, name, size_of::<u32>(), size_of::<V>())?,
            cpus,
            types: PhantomData,
        })
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.handle.fd.as_fd()
    }

    /// The values of one index, one for each CPU.
    pub(super) fn row(&self, index: u32) -> Result<Vec<V>, TableError> {
        // SAFETY: `open` has compared the sizes, and `V` is plain.
        unsafe { syscall::lookup(self.fd(), &index, self.cpus) }
            .map(Option::unwrap_or_default)
            .map_err(self.handle.error("read"))
    }

    /// `count` rows from `first` on, each with a value for every CPU, which follow one
    /// another.
    pub(super) fn rows(&self, first: u32, count: u32) -> Result<Rows<V>, TableError> {
        let count = count.min(self.handle.max_entries.saturating_sub(first)) as usize;
        let mut rows = Rows {
            values: Vec::with_capacity(count * self.cpus),
            cpus: self.cpus,
        };
        if count == 0 {
            return Ok(rows);
        }
        let mut indices: Vec<u32> = Vec::with_capacity(count);
        // SAFETY: `open` has compared the sizes, `V` is plain, and there is
        // room for `count` rows.
        unsafe {
            syscall::lookup_batch(
                self.fd(),
                before(first),
                count,
                self.cpus,
                &mut indices,
                &mut rows.values,
            )
        }
        .map_err(self.handle.error("read"))?;
        Ok(rows)
    }

    /// Sets the values of one index to zero on every CPU.
    pub(super) fn clear(&self, index: u32) -> Result<(), TableError> {
        let zeros = vec![V::zeroed(); self.cpus];
        // SAFETY: `open` has compared the sizes; there is a value per CPU.
        unsafe { syscall::update(self.fd(), &index, &zeros, Over::Anything) }
            .map_err(self.handle.error("write to"))
    }
}
