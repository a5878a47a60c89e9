//! What must outlive the agent (P7), and where it is kept.
//!
//! - [`disk`]: a database on disk;
//! - [`memory`]: for tests;
//! - [`document`]: what the state looks like in either;
//! - [`old`]: the state as version 0.1.0 kept it; `written`: when it was.

pub mod disk;
pub mod document;
pub mod memory;
pub mod old;
mod written;

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{clock::Now, state::State};

/// How sure a save has to be before it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sure {
    /// It outlives a power cut: for what somebody asked for.
    OnDisk,
    /// It outlives this process, and a power cut once anything after it is on
    /// disk: for what would be found again by looking.
    Written,
}

/// Keeps the state. Calls block.
pub trait Store: Send {
    /// The state that was saved last, with its times on this boot's clock;
    /// `None` when there never was one.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was saved.
    fn load(&mut self, now: Now) -> Result<Option<State>, StoreError>;

    /// Keeps the state, as surely as it is asked to before it returns. Costs
    /// as much as differs from what was saved or loaded before.
    ///
    /// # Errors
    /// When it cannot be written. What is kept then is either this state or
    /// the one before.
    fn save(&mut self, state: &State, now: Now, sure: Sure) -> Result<(), StoreError>;
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
        /// An earlier copy, if it is whole, and when it was written.
        last_good: Option<(PathBuf, String)>,
    },
    #[error("{path} was written by a newer ebb: format {found}, this one reads up to {known}")]
    Newer {
        path: PathBuf,
        found: u32,
        known: u32,
    },
    #[error("there are two states, {path} and {old}, and neither was made from the other")]
    Two { path: PathBuf, old: PathBuf },
}

impl StoreError {
    fn io(action: &'static str, path: &Path) -> impl Fn(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io {
            action,
            path: path.clone(),
            source,
        }
    }

    fn damaged(path: &Path, reason: String) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            reason,
            last_good: None,
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::Io { source, path, .. } => match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    format!("free some space on the file system of {}", path.display())
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    format!("make the file system of {} writable", path.display())
                }
                io::ErrorKind::ResourceBusy => {
                    format!("another program holds {} locked; end it", path.display())
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
                "the copy of {written} is whole, but does not know what was changed since; \
                 to go on from there: mv {0} {0}.damaged; rm -f {0}-wal {0}-shm; mv {1} {0}",
                path.display(),
                good.display(),
            ),
            Self::Damaged { path, .. } => format!(
                "no whole copy is left; to start from the configuration file alone: mv {0} {0}.damaged",
                path.display()
            ),
            Self::Newer { .. } => "run the newer ebb, or move the file away".to_owned(),
            Self::Two { path, old } => format!(
                "an older ebb has run here; to go on from what it left, move {} away, \
                 and to go on without that, move {} away",
                path.display(),
                old.display()
            ),
        }
    }
}
