//! One agent at a time: a lock that is held until the process ends.
//!
//! What is locked (flock) is a file of mode 0600 in the state folder: whoever
//! can open a file can hold its lock, and keep the agent from starting. A BPF
//! file system has no such files; there the folder itself is locked, and is its
//! owner's alone. A lock ends with its process, also when that crashed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{
        DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags},
    process::geteuid,
};

/// The file in a folder that is locked.
const NAME: &str = "lock";

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another agent{} uses {}; stop it first",
        .holder.map(|pid| format!(" (process {pid})")).unwrap_or_default(),
        path.display()
    )]
    Held { path: PathBuf, holder: Option<u32> },
    #[error(
        "others may write in {} (mode {mode:04o}), and could have the agent write elsewhere; \
         chmod go-w {0}",
        path.display()
    )]
    Writable { path: PathBuf, mode: u32 },
    #[error(
        "{} belongs to uid {uid}, and the agent runs as uid {}; chown it",
        path.display(),
        geteuid().as_raw()
    )]
    Foreign { path: PathBuf, uid: u32 },
    #[error("{} is not a regular file; remove it", path.display())]
    NoFile { path: PathBuf },
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
    /// Takes the lock in a folder, which is made if it is missing, and in which
    /// nobody else may write.
    ///
    /// # Errors
    /// When somebody else holds it, or has a hand in the folder.
    pub fn within(folder: &Path) -> Result<Self, LockError> {
        fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
        let owner = own(folder)?;
        let path = folder.join(NAME);
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nofollow)
            .open(&path)
            .map_err(failed("open", &path))?;
        let meta = file.metadata().map_err(failed("look at", &path))?;
        if !meta.is_file() {
            return Err(LockError::NoFile { path });
        }
        if meta.mode() & 0o077 != 0 {
            let private = fs::Permissions::from_mode(0o600);
            file.set_permissions(private)
                .map_err(failed("set the mode of", &path))?;
        }
        // Made by root for an agent that is not.
        if meta.uid() != owner && geteuid().is_root() {
            fchown(&file, Some(owner), None).map_err(failed("give away", &path))?;
        }
        Self::on(file, folder)
    }

    /// Takes the lock on a folder itself, which is made if it is missing, and
    /// is nobody else's to open from then on.
    ///
    /// # Errors
    /// When somebody else holds it, or the folder cannot be made.
    pub fn of(folder: &Path) -> Result<Self, LockError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(failed("make the folder", folder))?;
        let file = File::open(folder).map_err(failed("open the folder", folder))?;
        let meta = file.metadata().map_err(failed("look at", folder))?;
        if meta.mode() & 0o077 != 0 {
            let private = fs::Permissions::from_mode(0o700);
            file.set_permissions(private)
                .map_err(failed("set the mode of", folder))?;
        }
        Self::on(file, folder)
    }

    fn on(file: File, folder: &Path) -> Result<Self, LockError> {
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(LockError::Held {
                path: folder.to_owned(),
                holder: holder(&file),
            }),
            Err(error) => Err(failed("lock", folder)(error.into())),
        }
    }
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LockError {
    let path = path.to_owned();
    move |source| LockError::Io {
        action,
        path,
        source,
    }
}

/// The owner of a folder in which nobody else may put, or replace, a file.
fn own(folder: &Path) -> Result<u32, LockError> {
    let meta = fs::metadata(folder).map_err(failed("look at", folder))?;
    let path = || folder.to_owned();
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(LockError::Writable { path: path(), mode });
    }
    let (uid, me) = (meta.uid(), geteuid());
    // Root may look after the folder of an agent that is not root.
    if uid != me.as_raw() && uid != 0 && !me.is_root() {
        return Err(LockError::Foreign { path: path(), uid });
    }
    Ok(uid)
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

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_second_agent_is_refused_and_told_who_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        for take in [Lock::within, Lock::of] {
            let first = take(&path).unwrap();
            match take(&path) {
                Err(LockError::Held { path: held, holder }) => {
                    assert_eq!(held, path);
                    assert_eq!(holder, Some(std::process::id()));
                }
                other => panic!("{other:?}"),
            }
            drop(first);
            take(&path).unwrap();
        }
    }

    #[test]
    fn whoever_may_open_the_folder_does_not_keep_the_agent_from_starting() {
        let folder = tempfile::tempdir().unwrap();
        set_mode(folder.path(), 0o755);
        let stranger = File::open(folder.path()).unwrap();
        rustix::fs::flock(&stranger, FlockOperation::NonBlockingLockExclusive).unwrap();
        let _lock = Lock::within(folder.path()).unwrap();
        assert_eq!(mode(&folder.path().join(NAME)), 0o600);
    }

    #[test]
    fn a_lock_that_others_could_open_is_made_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        fs::write(&path, "").unwrap();
        set_mode(&path, 0o644);
        let _lock = Lock::within(folder.path()).unwrap();
        assert_eq!(mode(&path), 0o600);
        let bpffs = folder.path().join("bpf");
        fs::create_dir(&bpffs).unwrap();
        set_mode(&bpffs, 0o755);
        let _lock = Lock::of(&bpffs).unwrap();
        assert_eq!(mode(&bpffs), 0o700);
    }

    #[test]
    fn no_link_leads_the_lock_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let elsewhere = folder.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(NAME)).unwrap();
        let refused = Lock::within(folder.path()).expect_err("a link");
        assert!(matches!(refused, LockError::Io { .. }), "{refused}");
        assert!(!elsewhere.exists());
    }

    #[test]
    fn a_folder_that_others_may_write_in_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        for writable in [0o777, 0o1777, 0o770] {
            set_mode(folder.path(), writable);
            let refused = Lock::within(folder.path()).expect_err("writable");
            assert!(matches!(refused, LockError::Writable { .. }), "{refused}");
        }
    }
}
