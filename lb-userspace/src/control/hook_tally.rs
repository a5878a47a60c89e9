//! What became of the events that hooks wanted, for the metrics.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// One hook's events so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookTally {
    pub name: String,
    pub delivered: u64,
    /// Given up on after the last try.
    pub failed: u64,
    /// Never tried: too many waited already.
    pub dropped: u64,
}

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone, Default)]
pub struct Tallies(Arc<Mutex<BTreeMap<String, HookTally>>>);

impl Tallies {
    /// Of every hook that had an event, by name.
    #[must_use]
    pub fn all(&self) -> Vec<HookTally> {
        self.lock().values().cloned().collect()
    }

    pub(crate) fn delivered(&self, hook: &str) {
        self.count(hook, |tally| tally.delivered += 1);
    }

    pub(crate) fn failed(&self, hook: &str) {
        self.count(hook, |tally| tally.failed += 1);
    }

    pub(crate) fn dropped(&self, hook: &str) {
        self.count(hook, |tally| tally.dropped += 1);
    }

    fn count(&self, hook: &str, count: impl FnOnce(&mut HookTally)) {
        let mut tallies = self.lock();
        let tally = tallies.entry(hook.to_owned()).or_insert_with(|| HookTally {
            name: hook.to_owned(),
            ..HookTally::default()
        });
        count(tally);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, HookTally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
