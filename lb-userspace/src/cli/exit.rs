//! How a verb ends.

use std::process::ExitCode;

/// How a verb ended; an error is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exit {
    Done = 0,
    /// `ebb doctor` found what must be mended.
    Sick = 1,
    Usage = 2,
    DrainCut = 3,
    /// `ebb agent` cannot work as it is configured: `EX_CONFIG` of sysexits.h.
    Unworkable = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
