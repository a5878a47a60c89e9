//! The agent's log, on stderr: for people on a terminal, JSON elsewhere.
//!
//! `EBB_LOG` says how much, in tracing's directives: `debug`, or
//! `info,lb_userspace::dataplane=trace`. Changes and who asked for them are
//! under the target `audit`.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::{
    EnvFilter, Layer as _, Registry, filter::ParseError, fmt, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// The variable that says how much is logged.
pub const VARIABLE: &str = "EBB_LOG";

#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("{VARIABLE}={value:?} is not a log filter: {source}; try {VARIABLE}=debug")]
    Filter { value: String, source: ParseError },
    #[error("logging has already been set up")]
    Twice,
}

/// Starts logging for the whole process.
///
/// # Errors
/// When `EBB_LOG` cannot be understood.
pub fn start() -> Result<(), LoggingError> {
    let filter = match std::env::var(VARIABLE) {
        Ok(value) if !value.trim().is_empty() => {
            EnvFilter::try_new(&value).map_err(|source| LoggingError::Filter { value, source })?
        }
        _ => EnvFilter::new("info"),
    };
    // A log that cannot be written is no reason to end, and must not be
    // reported on the very stream that is closed.
    let lines = fmt::layer()
        .with_writer(io::stderr)
        .log_internal_errors(false);
    let people = io::stderr().is_terminal();
    let lines = if people {
        let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        lines.with_ansi(colours).with_target(false).boxed()
    } else {
        lines.json().flatten_event(true).boxed()
    };
    Registry::default()
        .with(lines.with_filter(filter))
        .try_init()
        .map_err(|_| LoggingError::Twice)
}
