//! A store that lasts as long as the process, for tests: it survives the
//! restart of a control that it is given to again, and fails when told to.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    Store, StoreError, Sure,
    document::{self, Key},
};
use crate::{clock::Now, state::State};

#[derive(Debug, Default)]
struct Inner {
    /// As text, so that what cannot be written is not kept.
    documents: BTreeMap<Key, String>,
    /// How many saves succeed before the disk is full.
    room: Option<usize>,
}

/// Cheap to clone; all clones keep the same state.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
    /// What the documents say.
    stored: State,
}

impl MemoryStore {
    /// From now on the disk is full, or not any more.
    pub fn set_full(&self, full: bool) {
        self.lock().room = full.then_some(0);
    }

    /// The disk is full after so many more saves.
    pub fn fail_after(&self, saves: usize) {
        self.lock().room = Some(saves);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A test that panicked has said so already.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn failed(source: impl Into<io::Error>) -> StoreError {
    StoreError::Io {
        action: "write",
        path: PathBuf::from("memory"),
        source: source.into(),
    }
}

impl Store for MemoryStore {
    fn load(&mut self, _: Now) -> Result<Option<State>, StoreError> {
        let documents = self.lock().documents.clone();
        if documents.is_empty() {
            return Ok(None);
        }
        let state =
            document::assemble(documents).map_err(|fault| failed(io::Error::other(fault)))?;
        self.stored = state.clone();
        Ok(Some(state))
    }

    fn save(&mut self, state: &State, _: Now, _: Sure) -> Result<(), StoreError> {
        let changed = document::differing(&self.stored, state).map_err(failed)?;
        let mut inner = self.lock();
        if let Some(room) = inner.room {
            inner.room = Some(room.saturating_sub(1));
            if room == 0 {
                return Err(failed(io::Error::from(io::ErrorKind::StorageFull)));
            }
        }
        for (key, text) in changed {
            match text {
                Some(text) => inner.documents.insert(key, text),
                None => inner.documents.remove(&key),
            };
        }
        drop(inner);
        self.stored = state.clone();
        Ok(())
    }
}
