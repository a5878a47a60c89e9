//! What must outlive the agent (P7), and where it is kept.
//!
//! - [`mod@file`]: one file on disk, readable by people;
//! - [`memory`]: for tests.

pub mod file;
pub mod memory;

use std::{io, path::PathBuf};

use crate::{clock::Now, control::state::State};

/// Keeps the state. Calls block.
pub trait Store: Send {
    /// The state that was saved last, with its times on this boot's clock;
    /// `None` when there never was one.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was saved.
    fn load(&mut self, now: Now) -> Result<Option<State>, StoreError>;

    /// Keeps the state. When this returns, it is on disk.
    ///
    /// # Errors
    /// When it cannot be written. What is kept then is either this state or
    /// the one before.
    fn save(&mut self, state: &State, now: Now) -> Result<(), StoreError>;
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {path}: {source}")]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error("{path} is damaged: {reason}")]
    Damaged {
        path: PathBuf,
        reason: String,
        /// The copy before it, if it is whole, and when it was written.
        last_good: Option<(PathBuf, String)>,
    },
    #[error("{path} was written by a newer ebb: format {found}, this one reads up to {known}")]
    Newer {
        path: PathBuf,
        found: u32,
        known: u32,
    },
}

impl StoreError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    format!("make room on the file system of {}", path.display())
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    format!("make the file system of {} writable", path.display())
                }
                _ => format!(
                    "the agent must be able to read and write {}",
                    path.display()
                ),
            },
            Self::Damaged {
                path,
                last_good: Some((good, written)),
                ..
            } => format!(
                "the copy before it, of {written}, is whole; to go on from there: mv {} {}",
                good.display(),
                path.display()
            ),
            Self::Damaged { path, .. } => format!(
                "no whole copy is left; to start from the configuration file alone: mv {0} {0}.damaged",
                path.display()
            ),
            Self::Newer { .. } => "run the newer ebb, or move the file away".to_owned(),
        }
    }
}
