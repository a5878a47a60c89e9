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
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
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
mod tests {
    use super::*;
    use crate::{
        config::{BackendId, LbName, spec},
        control::{backend::Registration, drain::Leave, edit::Draft},
        dataplane::Ties,
    };

    const NOW: Now = Now {
        moment: Moment(5_000_000),
        wall: Wall(1_795_000_000_000),
    };

    /// One load balancer with a backend that drains since [`NOW`], for 300 s.
    fn state() -> State {
        let text = r#"{"name": "web", "mode": "nat",
            "listeners": [{"protocol": "tcp", "address": "10.0.0.100", "port": 80}],
            "backends": [{"id": "web-1", "address": "10.0.1.11"}, {"address": "10.0.1.12"}]}"#;
        let (name, spec) = spec::load_balancer(serde_json::from_str(text).unwrap()).unwrap();
        let mut draft = Draft::new(&State::default(), NOW);
        draft.create(&name, &spec).unwrap();
        draft
            .deregister("web", "web-1", Leave::ByAttributes)
            .unwrap();
        let ties = Ties {
            flows: 3,
            handshakes: 0,
        };
        draft.poll(&name, &id("web-1"), ties);
        draft.state
    }

    fn id(text: &str) -> BackendId {
        BackendId::try_from(text.to_owned()).unwrap()
    }

    fn other() -> State {
        let mut state = state();
        state.load_balancers.clear();
        state
    }

    fn store(folder: &tempfile::TempDir) -> FileStore {
        FileStore::open(folder.path(), "boot-1").unwrap()
    }

    #[test]
    fn p7_what_was_saved_is_loaded() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(store(&folder).load(NOW).unwrap(), None);
        store(&folder).save(&state(), NOW).unwrap();
        assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
        store(&folder).save(&other(), NOW).unwrap();
        assert_eq!(store(&folder).load(NOW).unwrap(), Some(other()));
    }

    #[test]
    fn the_file_can_be_read_by_people() {
        let folder = tempfile::tempdir().unwrap();
        store(&folder).save(&state(), NOW).unwrap();
        let text = fs::read_to_string(folder.path().join("state.json")).unwrap();
        for part in [
            "\"time\": \"2026-11-18T11:06:40.000Z\"",
            "\"tcp 10.0.0.100:80\": 80",
            "\"draining\": {",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }

    #[test]
    fn a_damaged_file_is_refused_and_the_last_good_copy_offered() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = store(&folder);
        first.save(&other(), NOW).unwrap();
        first.save(&state(), NOW).unwrap();
        let path = folder.path().join("state.json");
        let whole = fs::read(&path).unwrap();

        let cuts = (0..whole.len() - 1)
            .step_by(17)
            .map(|end| whole[..end].to_vec());
        let flips = (0..whole.len() - 1).step_by(7).map(|place| {
            let mut flipped = whole.clone();
            flipped[place] ^= 1;
            flipped
        });
        for damaged in cuts.chain(flips) {
            fs::write(&path, &damaged).unwrap();
            let error = store(&folder).load(NOW).unwrap_err();
            match &error {
                StoreError::Damaged {
                    path: named,
                    last_good: Some((good, written)),
                    ..
                } => {
                    assert_eq!(named, &path);
                    assert!(error.hint().contains("mv "), "{}", error.hint());
                    assert_eq!(good, &folder.path().join("state.json.last-good"));
                    assert_eq!(written, "2026-11-18T11:06:40.000Z");
                }
                StoreError::Newer { .. } => {
                    assert!(!damaged.starts_with(b"{\n  \"format\": 1,"));
                }
                other => panic!("{other}"),
            }
        }

        fs::rename(folder.path().join("state.json.last-good"), &path).unwrap();
        assert_eq!(store(&folder).load(NOW).unwrap(), Some(other()));
    }

    #[test]
    fn a_damaged_file_is_never_kept_as_the_last_good_copy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        fs::write(&path, "{").unwrap();
        let mut store = store(&folder);
        assert!(store.load(NOW).is_err());
        store.save(&state(), NOW).unwrap();
        assert!(!folder.path().join("state.json.last-good").exists());
    }

    #[test]
    fn a_state_that_cannot_be_written_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = store(&folder);
        first.save(&state(), NOW).unwrap();
        // A folder in the way of the new file.
        fs::create_dir(folder.path().join("state.json.tmp")).unwrap();
        let error = first.save(&other(), NOW).unwrap_err();
        assert!(error.to_string().contains("state.json.tmp"), "{error}");
        assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
    }

    #[test]
    fn a_newer_format_is_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        store(&folder).save(&state(), NOW).unwrap();
        let path = folder.path().join("state.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
        let error = store(&folder).load(NOW).unwrap_err();
        assert!(
            matches!(error, StoreError::Newer { found: 2, .. }),
            "{error}"
        );
    }

    #[test]
    fn a_reboot_moves_deadlines_onto_the_new_clock() {
        let folder = tempfile::tempdir().unwrap();
        store(&folder).save(&state(), NOW).unwrap();
        // A minute later by the wall clock, the host has been up for ten
        // seconds.
        let later = Now {
            moment: Moment(10_000),
            wall: Wall(NOW.wall.0 + 60_000),
        };
        let mut rebooted = FileStore::open(folder.path(), "boot-2").unwrap();
        let state = rebooted.load(later).unwrap().unwrap();
        let name = LbName::try_from("web".to_owned()).unwrap();
        let life = &state.load_balancers[&name].backends[&id("web-1")].life;
        let Registration::Draining(drain) = life.registration() else {
            panic!("{life:?}");
        };
        assert_eq!(drain.since, Moment(-50_000));
        assert_eq!(drain.deadline(), Moment(250_000));

        // A wall clock that went back: no time has passed.
        let back = Now {
            moment: Moment(10_000),
            wall: Wall(NOW.wall.0 - 3_600_000),
        };
        let mut rebooted = FileStore::open(folder.path(), "boot-2").unwrap();
        let state = rebooted.load(back).unwrap().unwrap();
        let life = &state.load_balancers[&name].backends[&id("web-1")].life;
        assert_eq!(life.drain().unwrap().since, Moment(10_000));
    }
}
