//! The embedded store: `state.db`, an SQLite database with a row for each
//! document, so that a change writes what changed.
//!
//! Why SQLite: a damaged file is an error and never a panic or a wrong answer
//! of its own; a power cut leaves the last commit; operators can look into it,
//! and copy it while the agent runs, with a tool that they have.
//!
//! How a state gets there:
//!
//! 1. The first one is written to `state.db.new`, which is synced and renamed:
//!    an empty `state.db` is a damaged one, not a new one.
//! 2. A change is one transaction in the write-ahead log, synced before the
//!    answer to whoever asked for it. A crash leaves all of it or nothing.
//! 3. Every row has a digest of itself, and the `state` row has the sum of all
//!    of them: a row that was damaged, exchanged or lost is noticed at start.
//! 4. At every start, what was found whole is copied to `state.db.last-good`.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, params};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Store, StoreError, Sure,
    document::{self, Key, Kind},
    old,
    written::Written,
};
use crate::{clock::Now, state::State};

/// The format that this version writes, and the newest that it reads.
const FORMAT: u32 = 2;
/// `ebb`, for `file` and its like.
const APPLICATION: u32 = u32::from_be_bytes(*b"ebb\0");
/// How long another program may keep the database locked.
const LOCKED: Duration = Duration::from_secs(1);

const SCHEMA: &str = "
    CREATE TABLE document (
        kind TEXT NOT NULL,
        name TEXT NOT NULL,
        body TEXT NOT NULL,
        digest BLOB NOT NULL,
        PRIMARY KEY (kind, name)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE state (
        body TEXT NOT NULL,
        digest BLOB NOT NULL
    ) STRICT;
";

type Digest = [u8; 32];

/// The `state` row: what is true of all documents together.
#[derive(Serialize, Deserialize)]
struct Whole {
    written: Written,
    /// The sum of all documents' digests.
    seal: String,
    /// The checksum of the `state.json` of version 0.1.0 that this came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    came_from: Option<String>,
}

/// Keeps the state in a folder.
#[derive(Debug)]
pub struct DiskStore {
    folder: PathBuf,
    boot: String,
    open: Option<Open>,
    /// The `state.json` that was loaded, by its checksum, until it is put aside.
    came_from: Option<String>,
}

/// A database that was read or written whole.
#[derive(Debug)]
struct Open {
    database: Connection,
    /// What its documents say; nothing, if they are all to be written anew.
    stored: State,
    digests: BTreeMap<Key, Digest>,
    /// Under which its times were written.
    boot: String,
    came_from: Option<String>,
}

impl DiskStore {
    /// A store in `folder`, which is made if it is missing. `boot` is what
    /// [`crate::clock::boot_id`] says.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, boot: &str) -> Result<Self, StoreError> {
        fs::create_dir_all(folder).map_err(StoreError::io("make", folder))?;
        // From here on no link is followed.
        let folder = fs::canonicalize(folder).map_err(StoreError::io("find", folder))?;
        Ok(Self {
            folder,
            boot: boot.to_owned(),
            open: None,
            came_from: None,
        })
    }

    fn path(&self) -> PathBuf {
        self.folder.join("state.db")
    }

    fn last_good(&self) -> PathBuf {
        self.folder.join("state.db.last-good")
    }

    /// Where version 0.1.0 kept the state.
    fn old(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// The last good copy, if it is whole, and when it was written.
    fn offer(&self) -> Option<(PathBuf, String)> {
        let path = self.last_good();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = Connection::open_with_flags(&path, flags).ok()?;
        let (read, _) = read(database, &path).ok()?;
        Some((path, read.whole.written.time.to_string()))
    }

    /// Keeps a copy of what was found whole. Nothing depends on it.
    fn keep(&self, database: &Connection) -> Result<(), StoreError> {
        let new = self.folder.join("state.db.last-good.new");
        clear(&new)?;
        create(&new)?;
        let text = new.to_string_lossy();
        // It is checked before it is offered; no start waits for it.
        database
            .pragma_update(None, "synchronous", "OFF")
            .and_then(|()| database.execute("VACUUM INTO ?1", [&*text]))
            .map_err(failed("write", &new))?;
        fs::rename(&new, self.last_good()).map_err(StoreError::io("replace", &self.last_good()))
    }

    /// The database with nothing in it yet, under another name.
    fn begin(&self) -> Result<(Open, PathBuf), StoreError> {
        let new = self.folder.join("state.db.new");
        clear(&new)?;
        create(&new)?;
        let database = connect(&new)?;
        let made = database
            .pragma_update(None, "application_id", APPLICATION)
            .and_then(|()| database.pragma_update(None, "user_version", FORMAT))
            .and_then(|()| database.execute_batch(SCHEMA));
        made.map_err(failed("write", &new))?;
        let open = Open {
            database,
            stored: State::default(),
            digests: BTreeMap::new(),
            boot: String::new(),
            came_from: self.came_from.clone(),
        };
        Ok((open, new))
    }

    /// Puts the `state.json` aside that the database was made from.
    fn put_old_aside(&self) -> Result<(), StoreError> {
        let (old, aside) = (self.old(), self.folder.join("state.json.from-0.1.0"));
        match fs::rename(&old, &aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(StoreError::io("put aside", &old)(error)),
            Ok(()) => {}
        }
        tracing::info!(
            "the state of version 0.1.0 is in {} now, and kept as {}",
            self.path().display(),
            aside.display()
        );
        self.sync()
    }

    fn sync(&self) -> Result<(), StoreError> {
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(StoreError::io("sync", &self.folder))
    }
}

impl Store for DiskStore {
    fn load(&mut self, now: Now) -> Result<Option<State>, StoreError> {
        let path = self.path();
        let there = path.try_exists().map_err(StoreError::io("read", &path))?;
        let old = if there { None } else { old::read(&self.old())? };
        if let Some(old) = old {
            let mut state = old.state;
            old.written.bring(&mut state, &self.boot, now);
            self.came_from = Some(old.checksum);
            return Ok(Some(state));
        }
        if !there {
            return Ok(None);
        }
        let opened = connect(&path).and_then(|database| read(database, &path));
        let (read, mut open) = opened.map_err(|error| match error {
            StoreError::Damaged { path, reason, .. } => StoreError::Damaged {
                path,
                reason,
                last_good: self.offer(),
            },
            other => other,
        })?;
        if let Some(old) = old::read(&self.old())? {
            if open.came_from.as_ref() != Some(&old.checksum) {
                return Err(StoreError::Two {
                    path,
                    old: self.old(),
                });
            }
            self.put_old_aside()?;
        }
        let mut state = open.stored.clone();
        read.whole.written.bring(&mut state, &self.boot, now);
        if self.open.is_none()
            && let Err(error) = self.keep(&open.database)
        {
            tracing::warn!("no copy of the state is kept: {error}");
        }
        if read.whole.written.boot != self.boot {
            // Times have moved: everything that has one is written anew.
            open.stored = State::default();
        }
        self.open = Some(open);
        Ok(Some(state))
    }

    fn save(&mut self, state: &State, now: Now, sure: Sure) -> Result<(), StoreError> {
        let written = Written {
            boot: self.boot.clone(),
            moment: now.moment,
            time: now.wall,
        };
        let path = self.path();
        match self.open.take() {
            Some(mut open) => {
                open.write(state, written, sure, &path)?;
                self.open = Some(open);
            }
            // After a write that failed: what it left is read again.
            None if path.exists() => {
                let (_, mut open) = read(connect(&path)?, &path)?;
                open.stored = State::default();
                open.write(state, written, sure, &path)?;
                self.open = Some(open);
            }
            None => {
                let (mut open, new) = self.begin()?;
                open.write(state, written, Sure::OnDisk, &new)?;
                let closed = open.database.close().map_err(|(_, error)| error);
                closed.map_err(failed("write", &new))?;
                fs::rename(&new, &path).map_err(StoreError::io("replace", &path))?;
                self.sync()?;
                let (_, mut open) = read(connect(&path)?, &path)?;
                open.stored = state.clone();
                self.open = Some(open);
            }
        }
        if self.came_from.take().is_some() {
            self.put_old_aside()?;
        }
        Ok(())
    }
}

impl Open {
    /// Writes what differs from what is stored, in one transaction. After an
    /// error this is of no use any more.
    fn write(
        &mut self,
        state: &State,
        written: Written,
        sure: Sure,
        path: &Path,
    ) -> Result<(), StoreError> {
        let bad = |error: serde_json::Error| StoreError::io("write", path)(error.into());
        let mut changed = document::differing(&self.stored, state).map_err(bad)?;
        if self.stored == State::default() {
            let there = |key: &Key| changed.iter().any(|(other, _)| other == key);
            let gone: Vec<Key> = self
                .digests
                .keys()
                .filter(|key| !there(key))
                .cloned()
                .collect();
            changed.extend(gone.into_iter().map(|key| (key, None)));
        }
        let mut digests = Vec::with_capacity(changed.len());
        for (key, text) in &changed {
            let digest = text.as_ref().map(|text| digest(key, text));
            if digest.as_ref() != self.digests.get(key) {
                digests.push((key, text, digest));
            }
        }
        if !digests.is_empty() || self.boot != written.boot {
            let level = match sure {
                Sure::OnDisk => "FULL",
                Sure::Written => "NORMAL",
            };
            let pragma = self.database.pragma_update(None, "synchronous", level);
            pragma.map_err(failed("write", path))?;
            let transaction = self.database.transaction().map_err(failed("write", path))?;
            for (key, text, digest) in &digests {
                put(&transaction, key, text.as_deref(), *digest).map_err(failed("write", path))?;
            }
            for (key, _, digest) in digests {
                match digest {
                    Some(digest) => self.digests.insert(key.clone(), digest),
                    None => self.digests.remove(key),
                };
            }
            self.boot.clone_from(&written.boot);
            let whole = Whole {
                written,
                seal: seal(self.digests.values()),
                came_from: self.came_from.clone(),
            };
            let body = serde_json::to_string(&whole).map_err(bad)?;
            let sealed = transaction
                .execute("DELETE FROM state", [])
                .and_then(|_| {
                    transaction.execute(
                        "INSERT INTO state (body, digest) VALUES (?1, ?2)",
                        params![body, Digest::from(Sha256::digest(&body))],
                    )
                })
                .and_then(|_| transaction.commit());
            sealed.map_err(failed("write", path))?;
        }
        self.stored = state.clone();
        Ok(())
    }
}

fn put(
    transaction: &Transaction<'_>,
    key: &Key,
    text: Option<&str>,
    digest: Option<Digest>,
) -> rusqlite::Result<usize> {
    let kind = key.kind.name();
    match text.zip(digest) {
        Some((text, digest)) => transaction
            .prepare(
                "INSERT INTO document (kind, name, body, digest) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT DO UPDATE SET body = excluded.body, digest = excluded.digest",
            )?
            .execute(params![kind, key.name, text, digest]),
        None => transaction
            .prepare("DELETE FROM document WHERE kind = ?1 AND name = ?2")?
            .execute(params![kind, key.name]),
    }
}

/// The database, for reading and writing.
fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connect = || {
        let database = Connection::open_with_flags(path, flags)?;
        database.busy_timeout(LOCKED)?;
        database.pragma_update(None, "trusted_schema", false)?;
        database.pragma_update(None, "cell_size_check", true)?;
        Ok(database)
    };
    connect().map_err(failed("open", path))
}

/// What was read, beside the database itself.
struct Read {
    whole: Whole,
}

/// Reads and checks all of it.
fn read(database: Connection, path: &Path) -> Result<(Read, Open), StoreError> {
    let failed = failed("read", path);
    let damaged = |reason: String| StoreError::damaged(path, reason);
    let format: u32 = database
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(&failed)?;
    let application: u32 = database
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(&failed)?;
    if application != APPLICATION {
        return Err(damaged("it is not an ebb state file".to_owned()));
    }
    if format > FORMAT {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: format,
            known: FORMAT,
        });
    }
    let fault: String = database
        .pragma_query_value(None, "quick_check", |row| row.get(0))
        .map_err(&failed)?;
    if fault != "ok" {
        return Err(damaged(fault));
    }
    let (documents, digests) = rows(&database, path)?;
    let (body, digest): (String, Digest) = database
        .query_row("SELECT body, digest FROM state", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .map_err(&failed)?;
    if Digest::from(Sha256::digest(&body)) != digest {
        return Err(damaged("the checksum of its state row is wrong".to_owned()));
    }
    let whole: Whole = serde_json::from_str(&body).map_err(|error| damaged(error.to_string()))?;
    if whole.seal != seal(digests.values()) {
        return Err(damaged(
            "a document is missing, or is an old one".to_owned(),
        ));
    }
    let stored = document::assemble(documents).map_err(|fault| damaged(fault.to_string()))?;
    if !database.is_readonly("main").map_err(&failed)? {
        // One sync for a commit, where the usual journal needs three.
        database
            .pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))
            .map_err(&failed)?;
    }
    let open = Open {
        database,
        stored,
        digests,
        boot: whole.written.boot.clone(),
        came_from: whole.came_from.clone(),
    };
    Ok((Read { whole }, open))
}

type Rows = (Vec<(Key, String)>, BTreeMap<Key, Digest>);

fn rows(database: &Connection, path: &Path) -> Result<Rows, StoreError> {
    let failed = failed("read", path);
    let damaged = |reason: String| StoreError::damaged(path, reason);
    let mut statement = database
        .prepare("SELECT kind, name, body, digest FROM document")
        .map_err(&failed)?;
    let mut rows = statement.query([]).map_err(&failed)?;
    let (mut documents, mut digests) = (Vec::new(), BTreeMap::new());
    while let Some(row) = rows.next().map_err(&failed)? {
        let take = || {
            let (kind, name): (String, String) = (row.get(0)?, row.get(1)?);
            let (body, digest): (String, Digest) = (row.get(2)?, row.get(3)?);
            Ok((kind, name, body, digest))
        };
        let (kind, name, body, found) = take().map_err(&failed)?;
        let Some(kind) = Kind::named(&kind) else {
            return Err(damaged(format!("it has a document of the kind {kind:?}")));
        };
        let key = Key { kind, name };
        if digest(&key, &body) != found {
            return Err(damaged(format!("the checksum of {key} is wrong")));
        }
        digests.insert(key.clone(), found);
        documents.push((key, body));
    }
    Ok((documents, digests))
}

fn digest(key: &Key, text: &str) -> Digest {
    let mut hash = Sha256::new();
    for part in [key.kind.name(), &key.name, text] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// One value for all documents, whatever their order.
fn seal<'a>(digests: impl Iterator<Item = &'a Digest>) -> String {
    let mut seal = [0; 32];
    for digest in digests {
        for (sum, byte) in seal.iter_mut().zip(digest) {
            *sum ^= byte;
        }
    }
    seal.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Nothing is left of an attempt before.
fn clear(path: &Path) -> Result<(), StoreError> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::io("remove", Path::new(&name))(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// An empty file that others cannot read; SQLite's own beside it are alike.
fn create(path: &Path) -> Result<(), StoreError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o640);
    let made = options.open(path).map(drop);
    made.map_err(StoreError::io("make", path))
}

/// What the database says, in the words of every store.
fn failed(action: &'static str, path: &Path) -> impl Fn(rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    move |error| {
        let source = match error.sqlite_error_code() {
            // Also where a table is missing, or the file ends too early.
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
                return StoreError::damaged(&path, error.to_string());
            }
            Some(_) if error.sqlite_error().is_some_and(ends_too_early) => {
                return StoreError::damaged(&path, error.to_string());
            }
            // The disk's own reason, in the words that the kernel has for it.
            Some(ErrorCode::DiskFull) => Errno::NOSPC.into(),
            Some(_) if error.sqlite_error().is_some_and(cannot_grow) => Errno::NOSPC.into(),
            Some(ErrorCode::ReadOnly) => Errno::ROFS.into(),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                io::Error::new(io::ErrorKind::ResourceBusy, error)
            }
            Some(ErrorCode::PermissionDenied) => {
                io::Error::new(io::ErrorKind::PermissionDenied, error)
            }
            Some(_) => io::Error::other(error),
            // What it holds is not what was written there.
            None => return StoreError::damaged(&path, error.to_string()),
        };
        StoreError::Io {
            action,
            path: path.clone(),
            source,
        }
    }
}

/// The index of what is not yet in the database, which grows by writing to a file
/// of its own: on a full disk that fails first, and is no "disk full" to SQLite.
fn cannot_grow(error: &rusqlite::ffi::Error) -> bool {
    error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE
}

fn ends_too_early(error: &rusqlite::ffi::Error) -> bool {
    error.extended_code == rusqlite::ffi::SQLITE_IOERR_SHORT_READ
}

#[cfg(test)]
mod tests;
