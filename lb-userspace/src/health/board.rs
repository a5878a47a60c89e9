//! The last result of every backend's checks, for whoever wants to show it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::failure::Failure;
use crate::{
    clock::Wall,
    model::{BackendId, Key, LbName},
    wire::LastCheck,
};

type Results = BTreeMap<LbName, BTreeMap<BackendId, Arc<Entry>>>;

/// Cheap to clone; all clones are one. Results are not part of the state: they
/// come too often for that, and an agent that starts has new ones soon.
#[derive(Debug, Clone, Default)]
pub struct Board(Arc<Mutex<Results>>);

/// One result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When the check ended.
    pub time: Wall,
    pub took: Duration,
    /// Why it did not pass.
    pub failure: Option<String>,
}

impl Entry {
    #[must_use]
    pub fn new(time: Wall, took: Duration, result: &Result<(), Failure>) -> Self {
        Self {
            time,
            took,
            failure: result.as_ref().err().map(ToString::to_string),
        }
    }

    #[must_use]
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

impl From<&Entry> for LastCheck {
    fn from(entry: &Entry) -> Self {
        Self {
            time: entry.time.to_string(),
            took_us: u64::try_from(entry.took.as_micros()).unwrap_or(u64::MAX),
            error: entry.failure.clone(),
        }
    }
}

impl Board {
    /// The last result of a backend; none before the first one, or when it is
    /// not checked.
    #[must_use]
    pub fn last(&self, lb: &str, backend: &str) -> Option<Arc<Entry>> {
        self.lock().get(lb)?.get(backend).cloned()
    }

    pub(super) fn post(&self, key: &Key, entry: Entry) {
        let mut results = self.lock();
        let backends = results.entry(key.lb.clone()).or_default();
        backends.insert(key.backend.clone(), Arc::new(entry));
    }

    pub(super) fn forget(&self, key: &Key) {
        let mut results = self.lock();
        if let Some(backends) = results.get_mut(&key.lb) {
            backends.remove(&key.backend);
            if backends.is_empty() {
                results.remove(&key.lb);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Results> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
