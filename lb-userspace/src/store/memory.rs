//! A store that lasts as long as the process, for tests: it survives the
//! restart of a control that it is given to again, and fails when told to.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Store, StoreError};
use crate::{clock::Now, control::state::State};

#[derive(Debug, Default)]
struct Inner {
    /// As text, so that what cannot be written is not kept.
    text: Option<String>,
    /// How many saves succeed before the disk is full.
    room: Option<usize>,
}

/// Cheap to clone; all clones keep the same state.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    inner: Arc<Mutex<Inner>>,
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
        let inner = self.lock();
        let state = inner.text.as_deref().map(serde_json::from_str);
        state.transpose().map_err(failed)
    }

    fn save(&mut self, state: &State, _: Now) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(room) = inner.room {
            inner.room = Some(room.saturating_sub(1));
            if room == 0 {
                return Err(failed(io::Error::from(io::ErrorKind::StorageFull)));
            }
        }
        inner.text = Some(serde_json::to_string(state).map_err(failed)?);
        Ok(())
    }
}
