//! Whether the agent would fail again if it were started again and nothing else had
//! changed. Whoever starts it (systemd) need not try, and its log then ends with the
//! reason instead of repeating it.
//!
//! What may end by itself does not last: a port that is taken, an address that is not
//! there yet, another agent that is about to stop, a full disk.

use std::io::{self, ErrorKind};

use super::error::AgentError;
use crate::{
    api::{admin::SocketError, console, elb, metrics},
    dataplane::bpf::{LoadError, StartError},
    lock::LockError,
    store::StoreError,
};

impl AgentError {
    /// Whether it lasts until somebody mends something.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Config(_)
            | Self::TooLong { .. }
            | Self::Exposed { .. }
            | Self::Interface { .. }
            | Self::NoProgram => true,
            Self::Read { source, .. } => is_of_a_file(source),
            Self::Lock(error) => of_lock(error),
            Self::Socket(error) => of_socket(error),
            Self::Store(error) => of_store(error),
            Self::Kernel(error) => of_kernel(error),
            Self::Elb(elb::StartError::AccessKeys(_))
            | Self::Console(console::StartError::AccessKeys(_)) => true,
            Self::Elb(elb::StartError::Listen { source, .. })
            | Self::Console(console::StartError::Listen { source, .. })
            | Self::Metrics(metrics::StartError::Listen { source, .. }) => is_of_a_file(source),
            Self::Host(_)
            | Self::Vip(_)
            | Self::Control(_)
            | Self::Threads(_)
            | Self::Unload(_)
            | Self::ControlGone => false,
        }
    }
}

/// A file that is not there, or may not be used, or is another thing than it should be.
/// Not so: a device that fails, a disk that is full, an address that is taken.
fn is_of_a_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::InvalidFilename
    )
}

fn of_lock(error: &LockError) -> bool {
    match error {
        LockError::Held { .. } => false,
        LockError::Writable { .. } | LockError::Foreign { .. } | LockError::NoFile { .. } => true,
        LockError::Io { source, .. } => is_of_a_file(source),
    }
}

fn of_socket(error: &SocketError) -> bool {
    match error {
        SocketError::InUse { .. } => false,
        SocketError::NotASocket { .. } => true,
        SocketError::Io { source, .. } => is_of_a_file(source),
    }
}

fn of_store(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged { .. } | StoreError::Newer { .. } | StoreError::Two { .. } => true,
        StoreError::Io { source, .. } => is_of_a_file(source),
    }
}

fn of_kernel(error: &StartError) -> bool {
    match error {
        StartError::Config(_) => true,
        StartError::Load(error) => of_load(error),
        StartError::Serve { .. }
        | StartError::Table(_)
        | StartError::Netlink(_)
        | StartError::Thread(_) => false,
    }
}

fn of_load(error: &LoadError) -> bool {
    match error {
        LoadError::NoObject
        | LoadError::OldKernel(_)
        | LoadError::NoBpffs { .. }
        | LoadError::Schema(_)
        | LoadError::NoProgram(_)
        | LoadError::Resize(_)
        | LoadError::Open(_) => true,
        LoadError::Directory { source, .. } => is_of_a_file(source),
        // Of memory there may be more later.
        LoadError::Maps(_) | LoadError::Program(_) | LoadError::Log(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn read(kind: ErrorKind) -> AgentError {
        AgentError::Read {
            path: PathBuf::from("/etc/ebb/ebb.toml"),
            source: kind.into(),
        }
    }

    #[test]
    fn what_only_a_hand_can_mend_lasts() {
        for lasting in [
            AgentError::Config(Vec::new()),
            read(ErrorKind::NotFound),
            read(ErrorKind::PermissionDenied),
            AgentError::Store(StoreError::Newer {
                path: PathBuf::from("state.db"),
                found: 9,
                known: 1,
            }),
            AgentError::Lock(LockError::Foreign {
                path: PathBuf::from("/var/lib/ebb"),
                uid: 7,
            }),
        ] {
            assert!(lasting.is_lasting(), "{lasting}");
        }
    }

    #[test]
    fn what_may_end_by_itself_does_not_last() {
        let taken = io::Error::from(ErrorKind::AddrInUse);
        for passing in [
            AgentError::Metrics(metrics::StartError::Listen {
                address: ([127, 0, 0, 1], 9180).into(),
                source: taken,
            }),
            AgentError::Lock(LockError::Held {
                path: PathBuf::from("/var/lib/ebb"),
                holder: None,
            }),
            read(ErrorKind::Interrupted),
        ] {
            assert!(!passing.is_lasting(), "{passing}");
        }
    }
}
