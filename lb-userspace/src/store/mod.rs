//! What must outlive the agent (P7), and where it is kept.

use std::{io, path::PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{action} {path} failed: {source}")]
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
                io::ErrorKind::StorageFull => {
                    format!("make room on the file system of {}", path.display())
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    format!("mount the file system of {} writable", path.display())
                }
                _ => format!("the agent must be able to write {}", path.display()),
            },
            Self::Damaged {
                path,
                last_good: Some((good, written)),
                ..
            } => format!(
                "the copy of {written} is whole; to go on with it: mv {} {}",
                good.display(),
                path.display()
            ),
            Self::Damaged { path, .. } => format!(
                "no whole copy is left; move {} away to start from the configuration file alone",
                path.display()
            ),
            Self::Newer { .. } => "run the newer ebb again".to_owned(),
        }
    }
}
