//! Ctrl-C, as something that a wait can notice: the program then ends by
//! returning, and whatever it made goes with what it drops.

use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use signal_hook::consts::{SIGINT, SIGTERM};

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on SIGINT and SIGTERM are noted instead of ending the process.
pub fn note() -> io::Result<()> {
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&INTERRUPTED))?;
    }
    Ok(())
}

/// Whether one has come.
pub fn noted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}
