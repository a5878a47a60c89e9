//! The embedded store: `state.json`, one file, readable by people.
//!
//! How a state gets there, so that a crash at any point leaves a whole file
//! under the name, the new one or the one before:
//!
//! 1. it is written to `state.json.tmp`, which is synced;
//! 2. the file that is there is linked as `state.json.last-good`;
//! 3. the new one is renamed over it, and the folder is synced.
//!
//! The file carries a checksum of itself, so that one that was damaged, cut
//! short or edited is noticed and refused, never half-read.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Store, StoreError};
use crate::{
    clock::{Moment, Now, Wall},
    control::state::State,
};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// Far more than any real state; a file beyond that is not ours.
const MOST_BYTES: u64 = 256 << 20;
/// Stands for the checksum while it is computed.
const BLANK: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Content<S> {
    format: u32,
    /// SHA-256 of the file with zeros in this place.
    checksum: String,
    written: Written,
    state: S,
}

/// When, on which clock: a moment means nothing under another boot.
#[derive(Clone, Serialize, Deserialize)]
struct Written {
    boot: String,
    moment: Moment,
    time: Wall,
}

/// Keeps the state in a folder.
#[derive(Debug)]
pub struct FileStore {
    folder: PathBuf,
    boot: String,
    /// The file that is there is one that was read or written whole.
    whole: bool,
}

impl FileStore {
    /// A store in `folder`, which is made if it is missing. `boot` is what
    /// [`crate::clock::boot_id`] says.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, boot: &str) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(at("make", folder))?;
        Ok(Self {
            folder: folder.to_owned(),
            boot: boot.to_owned(),
            whole: false,
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    fn last_good(&self) -> PathBuf {
        self.folder.join("state.json.last-good")
    }

    /// The last good copy, if it is whole, and when it was written.
    fn offer(&self) -> Option<(PathBuf, String)> {
        let path = self.last_good();
        let text = read(&path).ok()??;
        let (_, written) = parse(&path, &text).ok()?;
        Some((path, written.time.to_string()))
    }
}

impl Store for FileStore {
    fn load(&mut self, now: Now) -> Result<Option<State>, StoreError> {
        let path = self.path();
        let Some(text) = read(&path)? else {
            return Ok(None);
        };
        let (mut state, written) = parse(&path, &text).map_err(|error| match error {
            StoreError::Damaged { path, reason, .. } => StoreError::Damaged {
                path,
                reason,
                last_good: self.offer(),
            },
            other => other,
        })?;
        self.whole = true;
        if written.boot != self.boot {
            tracing::info!(
                "the host has been rebooted since the state was saved at {}",
                written.time
            );
            let then = Now {
                moment: written.moment,
                wall: written.time,
            };
            // A wall clock that was set back must not bring old times back.
            let now = Now {
                wall: now.wall.max(then.wall),
                ..now
            };
            state.rebase(|moment| now.moment_at(then.wall_at(moment)));
        }
        Ok(Some(state))
    }

    fn save(&mut self, state: &State, now: Now) -> Result<(), StoreError> {
        let path = self.path();
        let content = Content {
            format: FORMAT,
            checksum: BLANK.to_owned(),
            written: Written {
                boot: self.boot.clone(),
                moment: now.moment,
                time: now.wall,
            },
            state,
        };
        let text = serde_json::to_string_pretty(&content).map_err(|error| StoreError::Io {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        let checksum = checksum(&text);
        let text = text.replacen(BLANK, &checksum, 1) + "\n";

        let new = self.folder.join("state.json.tmp");
        if let Err(error) = write(&new, &text) {
            // Half a file is of no use, and its room may be needed.
            drop(fs::remove_file(&new));
            return Err(at("write", &new)(error));
        }
        if self.whole {
            self.keep().map_err(at("write", &self.last_good()))?;
        }
        fs::rename(&new, &path).map_err(at("replace", &path))?;
        self.whole = true;
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at("sync", &self.folder))
    }
}

impl FileStore {
    /// Gives the file that is there the name of the last good copy.
    fn keep(&self) -> io::Result<()> {
        let link = self.folder.join("state.json.last-good.tmp");
        match fs::remove_file(&link) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::hard_link(self.path(), &link)?;
        fs::rename(&link, self.last_good())
    }
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        action,
        path,
        source,
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    // What a crash left; or a link, which is not followed but taken away.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// `None` if there is no such file.
fn read(path: &Path) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(at("read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES)
        .read_to_end(&mut bytes)
        .map_err(at("read", path))?;
    Ok(Some(bytes))
}

fn checksum(text: &str) -> String {
    Sha256::digest(text)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn parse(path: &Path, bytes: &[u8]) -> Result<(State, Written), StoreError> {
    let damaged = |reason: String| StoreError::Damaged {
        path: path.to_owned(),
        reason,
        last_good: None,
    };
    let text = std::str::from_utf8(bytes)
        .map_err(|error| damaged(format!("it is not text from byte {}", error.valid_up_to())))?;
    let content: Content<serde::de::IgnoredAny> =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    if content.format > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: content.format,
            known: FORMAT,
        });
    }
    let blank = text.trim_end().replacen(&content.checksum, BLANK, 1);
    if content.checksum.len() != BLANK.len() || checksum(&blank) != content.checksum {
        return Err(damaged(
            "its checksum is not that of its content".to_owned(),
        ));
    }
    let content: Content<State> =
        serde_json::from_str(text).map_err(|error| damaged(error.to_string()))?;
    Ok((content.state, content.written))
}

#[cfg(test)]
mod tests;
