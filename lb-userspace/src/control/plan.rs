//! From the old view and the new one to the changes that lead there. Pure.
//!
//! The order is a promise. A listener goes before its backends do. A backend that
//! begins to take new flows does so before the table names it, and one that ends to,
//! after the table has named it for the last time: so at no moment a SYN is refused
//! while a backend in service could have it. (That it gets none once this is
//! acknowledged is P1.) Then the listeners that let new flows in, when all that these
//! need is there; forced closes; and last what nothing refers to any more.

use crate::dataplane::{BackendView, Change, View};

/// The changes that turn `old` into `new`. Both come from the control task,
/// where an index never changes its backend while it is in a view, and an
/// epoch only goes up.
#[must_use]
pub fn plan(old: &View, new: &View) -> Vec<Change> {
    let mut changes = Vec::new();

    for key in old.listeners.keys() {
        if !new.listeners.contains_key(key) {
            changes.push(Change::RemoveListener(*key));
        }
    }

    // What new flows need.
    for (index, after) in &new.lbs {
        if old.lbs.get(index) != Some(after) {
            changes.push(Change::PutLb(after.clone()));
        }
    }
    for (index, after) in &new.backends {
        match old.backends.get(index) {
            None => changes.push(Change::PutBackend(after.clone())),
            Some(before) if !before.takes_new && after.takes_new => {
                changes.push(Change::PutBackend(BackendView {
                    epoch: before.epoch,
                    ..after.clone()
                }));
            }
            Some(_) => {}
        }
    }
    for (index, members) in &new.tables {
        if old.tables.get(index) != Some(members) {
            changes.push(Change::PutTable(*index, members.clone()));
        }
    }

    // No new flows any more: a single write each. And who fails or recovers while its
    // flows go on.
    for (index, after) in &new.backends {
        if let Some(before) = old.backends.get(index)
            && (before.takes_new && !after.takes_new
                || before.takes_new == after.takes_new && before.fails != after.fails)
        {
            changes.push(Change::PutBackend(BackendView {
                epoch: before.epoch,
                ..after.clone()
            }));
        }
    }

    for (key, after) in &new.listeners {
        if old.listeners.get(key) != Some(after) {
            changes.push(Change::PutListener(after.clone()));
        }
    }

    // Forced closes.
    for (index, after) in &new.backends {
        if let Some(before) = old.backends.get(index)
            && before.epoch != after.epoch
        {
            changes.push(Change::Disown {
                backend: *index,
                epoch: after.epoch,
            });
        }
    }

    // What nothing refers to any more.
    for index in old.backends.keys() {
        if !new.backends.contains_key(index) {
            changes.push(Change::RemoveBackend(*index));
        }
    }
    for index in old.lbs.keys() {
        if !new.lbs.contains_key(index) {
            changes.push(Change::RemoveLb(*index));
        }
    }
    changes
}

#[cfg(test)]
mod tests;
