//! The socket file: made with the right mode, taken over from a dead agent,
//! never from a live one.

use std::{
    fs, io,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
        net::UnixStream as StdUnixStream,
    },
    path::{Path, PathBuf},
};

use nix::unistd::Group;
use tokio::net::{UnixListener, UnixSocket};

/// Whoever is in it may use the socket, if the host has it.
const GROUP: &str = "ebb";

/// The owner and the group; nobody else.
const MODE: u32 = 0o660;

/// Clients that wait to be accepted.
const BACKLOG: u32 = 128;

#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    #[error("an agent is already running and listens on {}; stop it first, or give this one another `socket`", path.display())]
    InUse { path: PathBuf },
    #[error("{} exists but is not a socket; remove it, or configure another `socket`", path.display())]
    NotASocket { path: PathBuf },
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
}

/// A listening socket. Its file goes away with it.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    file: File,
}

/// The file of a socket, removed with this value if it still is that file.
#[derive(Debug)]
struct File {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Socket {
    /// Makes the socket and listens on it. Needs a tokio runtime.
    ///
    /// # Errors
    /// When another agent listens there, when something else is in the way, or
    /// when the folder cannot be written.
    pub fn bind(path: &Path) -> Result<Self, SocketError> {
        let failed = |action| {
            move |source| SocketError::Io {
                action,
                path: path.to_owned(),
                source,
            }
        };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(failed("make the folder of"))?;
        }
        remove_stale(path)?;
        let socket = UnixSocket::new_stream().map_err(failed("make"))?;
        socket.bind(path).map_err(failed("bind"))?;
        let meta = fs::symlink_metadata(path).map_err(failed("look at"))?;
        let file = File {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
        };
        // Nobody can connect before `listen`, so there is no moment at which
        // the socket has another mode.
        give_to_group(path);
        fs::set_permissions(path, fs::Permissions::from_mode(MODE))
            .map_err(failed("set the mode of"))?;
        let listener = socket.listen(BACKLOG).map_err(failed("listen on"))?;
        Ok(Self { listener, file })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|meta| meta.dev() == self.device && meta.ino() == self.inode);
        if ours {
            // A file that stays is taken for a dead agent's at the next start.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// A socket that nobody listens on was left by an agent that was killed.
fn remove_stale(path: &Path) -> Result<(), SocketError> {
    let failed = |action| {
        move |source| SocketError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed("look at")(e)),
        Ok(meta) if !meta.file_type().is_socket() => {
            return Err(SocketError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match StdUnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(path = %path.display(), "taking over the socket of an agent that is gone");
            fs::remove_file(path).map_err(failed("remove"))
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        // A full backlog: somebody listens, however slowly.
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(e) => Err(failed("connect to")(e)),
    }
}

/// Without the group, or the right to give files to it, the socket is its
/// owner's alone.
fn give_to_group(path: &Path) {
    match Group::from_name(GROUP) {
        Ok(Some(group)) => {
            if let Err(error) = chown(path, None, Some(group.gid.as_raw())) {
                tracing::warn!(%error, path = %path.display(), "cannot give the socket to group {GROUP}");
            }
        }
        Ok(None) => {
            tracing::debug!("there is no group {GROUP}; the socket is for its owner alone");
        }
        Err(error) => tracing::warn!(%error, "cannot look up group {GROUP}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_group_and_goes_away_with_its_agent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/ebb.sock");
        let socket = Socket::bind(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o660);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn a_live_agents_socket_is_refused_and_a_dead_ones_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ebb.sock");
        let first = Socket::bind(&path).unwrap();
        let refused = Socket::bind(&path).expect_err("two agents on one socket");
        assert!(matches!(refused, SocketError::InUse { .. }), "{refused}");

        // A killed agent leaves its file.
        std::mem::forget(first.file);
        drop(first.listener);
        assert!(path.exists());
        let second = Socket::bind(&path).unwrap();
        assert_eq!(second.path(), path);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ebb.sock");
        fs::write(&path, "precious").unwrap();
        let refused = Socket::bind(&path).expect_err("a plain file");
        assert!(
            matches!(refused, SocketError::NotASocket { .. }),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[tokio::test]
    async fn an_agent_that_goes_does_not_take_its_successors_socket() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ebb.sock");
        let first = Socket::bind(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let second = Socket::bind(&path).unwrap();
        drop(first);
        assert!(path.exists());
        drop(second);
        assert!(!path.exists());
    }
}
