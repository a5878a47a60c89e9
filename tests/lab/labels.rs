//! Names that tell whose a thing is, so that the living never clean up after
//! each other.

use std::{
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// `ebb-<pid>-<n>`: unlike that of any other lab on this machine.
pub(super) fn next() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("ebb-{}-{count}", process::id())
}
