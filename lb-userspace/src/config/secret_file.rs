//! A file with secrets in it is for those who need them.

use std::{fs::File, io, os::unix::fs::MetadataExt as _};

/// Why a file keeps no secret.
#[derive(Debug, thiserror::Error)]
pub enum Exposed {
    #[error(
        "others may read it (mode {mode:04o}); run chmod o-rwx on it, and replace the keys in it"
    )]
    Readable { mode: u32 },
    #[error(
        "others may write to it (mode {mode:04o}); run chmod go-w on it, and check what is in it"
    )]
    Writable { mode: u32 },
    #[error("it belongs to uid {uid}, which is neither root nor the agent's user; run chown on it")]
    Foreign { uid: u32 },
    #[error("its mode is not known: {0}")]
    Unknown(#[from] io::Error),
}

/// Refuses a file that anybody but its owner and its group may read, or anybody
/// but its owner may change.
pub(crate) fn check(file: &File) -> Result<(), Exposed> {
    let meta = file.metadata()?;
    let mode = meta.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(Exposed::Writable { mode });
    }
    if mode & 0o007 != 0 {
        return Err(Exposed::Readable { mode });
    }
    let me = rustix::process::geteuid().as_raw();
    match meta.uid() {
        0 => Ok(()),
        uid if uid == me => Ok(()),
        uid => Err(Exposed::Foreign { uid }),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::Permissions, os::unix::fs::PermissionsExt as _};

    use super::*;

    #[test]
    fn only_the_owner_writes_and_only_the_group_reads() {
        let file = tempfile::tempfile().unwrap();
        let checked = |mode| {
            file.set_permissions(Permissions::from_mode(mode)).unwrap();
            check(&file)
        };
        for good in [0o600, 0o400, 0o640, 0o440] {
            assert!(checked(good).is_ok(), "{good:o}");
        }
        for readable in [0o644, 0o604, 0o601] {
            assert!(
                matches!(checked(readable), Err(Exposed::Readable { .. })),
                "{readable:o}"
            );
        }
        for writable in [0o660, 0o620, 0o602, 0o666] {
            assert!(
                matches!(checked(writable), Err(Exposed::Writable { .. })),
                "{writable:o}"
            );
        }
    }

    #[test]
    fn another_users_file_is_refused() {
        let file = tempfile::tempfile().unwrap();
        file.set_permissions(Permissions::from_mode(0o600)).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::fchown(&file, Some(65_534), None).unwrap();
            assert!(matches!(
                check(&file),
                Err(Exposed::Foreign { uid: 65_534 })
            ));
        }
    }
}
