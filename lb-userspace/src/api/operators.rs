//! Who may change something without an access key: whoever may use the admin
//! socket, also when they come in by TCP.
//!
//! A door without keys is on loopback, so that both ends of a connection to it
//! are sockets of this host, and the kernel knows whose the other one is.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use nix::unistd::{Gid, Uid, User, getgrouplist};

use super::ends::Ends;
use crate::netlink::owner::{NoOwner, owner};

/// Why somebody may not.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotAdmitted {
    #[error(
        "uid {uid} may not use {}, and without access keys only those who may can change anything here",
        socket.display()
    )]
    User { uid: u32, socket: PathBuf },
    #[error("cannot tell whose this connection is: {0}")]
    Owner(#[from] NoOwner),
    #[error("cannot tell who may use {}: {source}", socket.display())]
    Socket { socket: PathBuf, source: io::Error },
}

impl NotAdmitted {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        "use an account that is in the socket's group, or configure access_keys"
    }
}

/// Those who may use a socket.
#[derive(Debug, Clone)]
pub struct Operators {
    socket: PathBuf,
}

impl Operators {
    /// Those who may use the socket at `path`, as it is at any time.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        Self {
            socket: path.to_owned(),
        }
    }

    /// Whether whoever is at the other end may change something.
    pub(super) async fn admit(&self, ends: Ends) -> Result<(), NotAdmitted> {
        let uid = owner(ends.peer, ends.local, ends.inode)?;
        if uid == 0 || uid == rustix::process::geteuid().as_raw() {
            return Ok(());
        }
        let socket = self.socket.clone();
        let path = socket.clone();
        // Groups may be looked up over a network.
        let found = tokio::task::spawn_blocking(move || may_use(uid, &path)).await;
        match found.map_err(io::Error::other).flatten() {
            Ok(true) => Ok(()),
            Ok(false) => Err(NotAdmitted::User { uid, socket }),
            Err(source) => Err(NotAdmitted::Socket { socket, source }),
        }
    }
}

/// By its owner and group; what others may is nobody's right.
fn may_use(uid: u32, socket: &Path) -> io::Result<bool> {
    let meta = std::fs::symlink_metadata(socket)?;
    if meta.uid() == uid {
        return Ok(true);
    }
    let group = Gid::from_raw(meta.gid());
    let Some(user) = User::from_uid(Uid::from_raw(uid))? else {
        return Ok(false);
    };
    let name = std::ffi::CString::new(user.name)?;
    Ok(getgrouplist(&name, user.gid)?.contains(&group))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    #[test]
    fn the_sockets_owner_and_its_group_may_use_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let nobody = User::from_name("nobody").unwrap().unwrap();
        let me = rustix::process::geteuid().as_raw();
        assert!(may_use(me, file.path()).unwrap());
        if me != 0 {
            return;
        }
        let uid = nobody.uid.as_raw();
        assert!(!may_use(uid, file.path()).unwrap());
        chown(file.path(), None, Some(nobody.gid.as_raw())).unwrap();
        assert!(may_use(uid, file.path()).unwrap());
        assert!(!may_use(3_999_999_999, file.path()).unwrap());
    }
}
