//! Maps that are made in another size beside the program that uses them.
//!
//! The kernel cannot resize a map. But a copy of one that only the agent writes says
//! the same in any size: it is made beside the pinned map, filled, and put in its
//! place by one renaming. The program that is attached goes on by the old map until it
//! is replaced by one that has the new. An agent that dies in between leaves two maps
//! that say the same, or a copy under a name that nobody reads.
//!
//! The other maps cannot be had in another size without loss: in those of flows and
//! counters the program writes at every moment, and the Maglev tables cannot be read
//! back by an agent without more rights than it has.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    maps::{Map, MapData, MapError, MapInfo},
    pin::PinError,
};
use bytemuck::Pod;
use lb_common::abi::{
    address::{Addr4, Addr6},
    vip::{Listener, ListenerIndex, VipKey},
};
use tracing::info;

use super::{
    schema::{Difference, Shape},
    table::{OpenError, Table, TableError},
};

/// Copies what is in a map into another.
type Copier = fn(&'static str, &Map, &Map) -> Result<(), Refused>;

/// The maps that only the agent writes, and how each is copied.
const CARRIED: [(&str, Copier); 4] = [
    ("VIPS_V4", entries::<VipKey<Addr4>, ListenerIndex>),
    ("VIPS_V6", entries::<VipKey<Addr6>, ListenerIndex>),
    ("LISTENERS_V4", rows::<Listener<Addr4>>),
    ("LISTENERS_V6", rows::<Listener<Addr6>>),
];

/// What the copy is called until it is the map.
const COPY: &str = "_copy";

/// Why a map cannot be had in another size.
#[derive(Debug, thiserror::Error)]
#[error("cannot make {map} in another size: {source}")]
pub struct ResizeError {
    map: &'static str,
    source: Refused,
}

#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(
        "more is in it than {0} entries hold, and flows may go by it; give `listeners` under \
         [tables] a number that is not as low"
    )]
    TooSmall(u32),
    #[error(transparent)]
    Map(#[from] Box<MapError>),
    #[error(transparent)]
    Open(#[from] OpenError),
    #[error(transparent)]
    Table(#[from] TableError),
    #[error("{}: {source}", path.display())]
    Pin { path: PathBuf, source: PinError },
    #[error("{}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
}

/// Whether a map of that name can be had in another size.
pub(super) fn carries(name: &str) -> bool {
    CARRIED.iter().any(|(carried, _)| *carried == name)
}

/// Makes these maps, which are pinned in `dir`, in the size that they should have,
/// with everything in them. All of them, unless the file system fails.
pub(super) fn make_anew(dir: &Path, differences: &[Difference]) -> Result<(), ResizeError> {
    let mut copies = Vec::new();
    for (map, copier) in CARRIED {
        let Some(difference) = differences.iter().find(|found| found.map == map) else {
            continue;
        };
        let copy = make_one(dir, map, copier, difference.expected);
        let copy = copy.map_err(|source| ResizeError { map, source })?;
        copies.push((map, copy, difference));
    }
    for (map, copy, difference) in copies {
        put_in_place(dir, map, &copy).map_err(|source| ResizeError { map, source })?;
        let (was, is) = (
            difference.pinned.max_entries,
            difference.expected.max_entries,
        );
        info!(map, was, is, "the map has another size");
    }
    Ok(())
}

/// A copy that nobody knows yet.
fn make_one(dir: &Path, name: &'static str, copier: Copier, shape: Shape) -> Result<Map, Refused> {
    let pin = dir.join(name);
    let flags = MapInfo::from_pin(&pin).map_err(Box::new)?.map_flags();
    let Shape {
        kind,
        key,
        value,
        max_entries,
    } = shape;
    let definition = aya_obj::Map::new_from_params(kind, key, value, max_entries, flags);
    let open = |data: Result<MapData, MapError>| data.and_then(Map::from_map_data);
    let from = open(MapData::from_pin(&pin)).map_err(Box::new)?;
    let to = open(MapData::create(definition, name, None)).map_err(Box::new)?;
    copier(name, &from, &to)?;
    Ok(to)
}

fn put_in_place(dir: &Path, name: &str, copy: &Map) -> Result<(), Refused> {
    let path = dir.join(format!("{name}{COPY}"));
    let failed = |source| Refused::File {
        path: path.clone(),
        source,
    };
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    copy.pin(&path).map_err(|source| Refused::Pin {
        path: path.clone(),
        source,
    })?;
    fs::rename(&path, dir.join(name)).map_err(failed)
}

/// Every entry of a hash.
fn entries<K: Pod, V: Pod>(name: &'static str, from: &Map, to: &Map) -> Result<(), Refused> {
    let from = Table::<K, V>::open(from, name)?;
    let to = Table::<K, V>::open(to, name)?;
    for (key, value) in all(&from)? {
        to.put(&key, &value)
            .map_err(|error| match error.source.raw_os_error() {
                Some(libc::E2BIG) => Refused::TooSmall(to.max_entries()),
                _ => error.into(),
            })?;
    }
    Ok(())
}

/// Every element of an array, but for those of zeros: they are nobody's, and a new
/// array is full of them.
fn rows<V: Pod>(name: &'static str, from: &Map, to: &Map) -> Result<(), Refused> {
    let from = Table::<u32, V>::open(from, name)?;
    let to = Table::<u32, V>::open(to, name)?;
    for (index, row) in all(&from)? {
        if bytemuck::bytes_of(&row).iter().all(|byte| *byte == 0) {
            continue;
        }
        if index >= to.max_entries() {
            return Err(Refused::TooSmall(to.max_entries()));
        }
        to.put(&index, &row)?;
    }
    Ok(())
}

fn all<K: Pod, V: Pod>(table: &Table<K, V>) -> Result<Vec<(K, V)>, TableError> {
    let mut all = Vec::new();
    table.each(|key, value| all.push((*key, *value)))?;
    Ok(all)
}
