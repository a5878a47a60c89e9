//! Whether the maps that an earlier agent left pinned are the ones that this
//! agent would make.
//!
//! The loader takes whatever map lies under a name (aya does not compare), and a
//! map of another shape would be read as garbage. So each pinned map is compared
//! with what the object and the configuration say, before the loader sees it.
//!
//! The pins lie in `<bpffs_dir>/schema-<N>/<MAP>`, where N is
//! [`lb_common::abi::SCHEMA`]: the number covers what sizes cannot show, the
//! meaning of a field.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
};

use aya::maps::MapInfo;
use aya_obj::Object;
use lb_common::abi::SCHEMA;

use crate::model::TableSizes;

const PREFIX: &str = "schema-";

/// How the names of maps begin in which nothing outlives a packet.
const SCRATCH: &str = "ROOM_";

/// The program's log: what nobody has read when the agent stops is lost.
const LOG: &str = "AYA_LOGS";

/// Where the maps of this schema are pinned.
pub(super) fn maps_dir(bpffs_dir: &Path) -> PathBuf {
    bpffs_dir.join(format!("{PREFIX}{SCHEMA}"))
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub kind: u32,
    pub key: u32,
    pub value: u32,
    pub max_entries: u32,
}

/// The maps of the kernel program by name, as they would be made.
#[derive(Debug)]
pub(super) struct Schema(BTreeMap<String, Shape>);

#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    #[error("the kernel program inside this binary cannot be read: {0}")]
    Object(#[from] aya_obj::ParseError),
    #[error("cannot look into {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error(
        "{} holds maps of layout {found}, and this ebb has layout {SCHEMA}: the flows in them \
         cannot be carried over; the program that was there goes on with them. To start \
         without them, when clients can do without: `ebb unload` (or rm -r {})",
        dir.display(), dir.display()
    )]
    OtherSchema { dir: PathBuf, found: String },
    #[error(
        "the maps pinned in {} are not those of this configuration: {}; either go back to the \
         [tables] they were made with, or give up the flows in them: stop the old agent and \
         remove the directory (rm -r {})",
        dir.display(), list(differences), dir.display()
    )]
    Differs {
        dir: PathBuf,
        differences: Vec<Difference>,
    },
}

/// A map that is not what it should be.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    pub map: String,
    pub pinned: Shape,
    pub expected: Shape,
}

impl Difference {
    /// Whether the size is all that differs.
    fn is_of_size(&self) -> bool {
        let max_entries = self.pinned.max_entries;
        let expected = Shape {
            max_entries,
            ..self.expected
        };
        self.pinned == expected
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            map,
            pinned,
            expected,
        } = self;
        let fields = [
            ("type", pinned.kind, expected.kind),
            ("key size", pinned.key, expected.key),
            ("value size", pinned.value, expected.value),
            ("max_entries", pinned.max_entries, expected.max_entries),
        ];
        write!(f, "{map} has ")?;
        let mut first = true;
        for (what, pinned, expected) in fields {
            if pinned != expected {
                let comma = if first { "" } else { ", " };
                write!(f, "{comma}{what} {pinned} (expected {expected})")?;
                first = false;
            }
        }
        Ok(())
    }
}

fn list(differences: &[Difference]) -> String {
    let texts: Vec<_> = differences.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl Schema {
    /// What `object` declares, in the sizes that are configured.
    pub(super) fn of(object: &[u8], sizes: &TableSizes) -> Result<Self, SchemaError> {
        let sizes: BTreeMap<_, _> = sizes.by_map().into();
        let maps = Object::parse(object)?.maps.into_iter();
        Ok(Self(
            maps
                // Sections of constants become maps too, and scratch room is
                // one: those are the program's own and change with it.
                .filter(|(name, _)| {
                    !name.starts_with('.') && !name.starts_with(SCRATCH) && name != LOG
                })
                .map(|(name, map)| {
                    let max_entries = sizes.get(name.as_str()).copied();
                    let shape = Shape {
                        kind: map.map_type(),
                        key: map.key_size(),
                        value: map.value_size(),
                        max_entries: max_entries.unwrap_or_else(|| map.max_entries()),
                    };
                    (name, shape)
                })
                .collect(),
        ))
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Compares with what is pinned. A map that is not there is no difference:
    /// it will be made. Returns those that only have another size, and that can be
    /// had in this one, as `carries` says.
    pub(super) fn check(
        &self,
        bpffs_dir: &Path,
        carries: impl Fn(&str) -> bool,
    ) -> Result<Vec<Difference>, SchemaError> {
        let dir = maps_dir(bpffs_dir);
        refuse_other_schemas(bpffs_dir)?;
        let mut differences = Vec::new();
        for (name, expected) in &self.0 {
            let path = dir.join(name);
            if !path.exists() {
                continue;
            }
            let pinned = pinned(&path).map_err(|source| SchemaError::Read {
                path: path.clone(),
                source,
            })?;
            if pinned != *expected {
                differences.push(Difference {
                    map: name.clone(),
                    pinned,
                    expected: *expected,
                });
            }
        }
        let (sizes, differences): (Vec<_>, Vec<_>) = differences
            .into_iter()
            .partition(|difference| difference.is_of_size() && carries(&difference.map));
        if differences.is_empty() {
            Ok(sizes)
        } else {
            Err(SchemaError::Differs { dir, differences })
        }
    }
}

fn pinned(path: &Path) -> io::Result<Shape> {
    let info = MapInfo::from_pin(path).map_err(io::Error::other)?;
    let kind = info.map_type().map_err(io::Error::other)?;
    Ok(Shape {
        kind: kind as u32,
        key: info.key_size(),
        value: info.value_size(),
        max_entries: info.max_entries(),
    })
}

fn refuse_other_schemas(bpffs_dir: &Path) -> Result<(), SchemaError> {
    let failed = |source| SchemaError::Read {
        path: bpffs_dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(bpffs_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        let name = name.to_string_lossy();
        if let Some(found) = name.strip_prefix(PREFIX)
            && found != SCHEMA.to_string()
        {
            return Err(SchemaError::OtherSchema {
                dir: bpffs_dir.to_owned(),
                found: found.to_owned(),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_names_only_what_differs() {
        let pinned = Shape {
            kind: 1,
            key: 16,
            value: 56,
            max_entries: 1024,
        };
        let difference = Difference {
            map: "FLOWS_V4".to_owned(),
            pinned,
            expected: Shape {
                value: 64,
                max_entries: 2048,
                ..pinned
            },
        };
        assert_eq!(
            difference.to_string(),
            "FLOWS_V4 has value size 56 (expected 64), max_entries 1024 (expected 2048)"
        );
    }

    #[test]
    fn maps_of_another_schema_are_refused() {
        let dir = std::env::temp_dir().join(format!("ebb-schema-{}", std::process::id()));
        fs::create_dir_all(dir.join("schema-999")).unwrap();
        let error = refuse_other_schemas(&dir).unwrap_err();
        fs::remove_dir_all(&dir).unwrap();
        assert!(matches!(&error, SchemaError::OtherSchema { found, .. } if found == "999"));
        assert!(error.to_string().contains("rm -r"), "{error}");
    }
}
