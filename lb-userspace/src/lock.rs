//! One agent at a time: a lock on a folder, held until the process ends.
//!
//! The folder itself is locked (flock), so nothing is left behind, not even by
//! a crash, and a folder on a BPF file system will do too.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::FlockOperation;

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another agent{} uses {}; stop it first",
        .holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    Held { path: PathBuf, holder: Option<u32> },
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// Held as long as this value is.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "an open file holds the lock")] File);

impl Lock {
    /// Takes the lock on a folder, which is made if it is missing.
    ///
    /// # Errors
    /// When somebody else holds it, or the folder cannot be made.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let failed = |action| {
            move |source| LockError::Io {
                action,
                path: folder.to_owned(),
                source,
            }
        };
        fs::create_dir_all(folder).map_err(failed("make the folder"))?;
        let file = File::open(folder).map_err(failed("open the folder"))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held {
                path: folder.to_owned(),
                holder: holder(&file),
            }),
            Err(error) => Err(failed("lock the folder")(error.into())),
        }
    }
}

/// Who holds the lock, if the kernel says so: a line of `/proc/locks` looks
/// like `1: FLOCK  ADVISORY  WRITE 4242 fe:00:1835011 0 EOF`.
fn holder(file: &File) -> Option<u32> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let kind = fields.next()?;
        let (_, _) = (fields.next()?, fields.next()?);
        let pid = fields.next()?;
        let place = fields.next()?;
        let same = kind == "FLOCK" && place.rsplit(':').next() == Some(&inode);
        same.then(|| pid.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_and_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let first = Lock::take(&path).unwrap();
        match Lock::take(&path) {
            Err(LockError::Held { path: held, holder }) => {
                assert_eq!(held, path);
                assert_eq!(holder, Some(std::process::id()));
            }
            other => panic!("{other:?}"),
        }
        drop(first);
        Lock::take(&path).unwrap();
    }
}
