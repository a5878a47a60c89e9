//! Why the agent cannot start, or cannot go on.

use std::{io, path::PathBuf};

use crate::{
    api::{admin::SocketError, console, elb, metrics},
    bpffs,
    config::{Diagnostic, Exposed, LONGEST_DOCUMENT},
    control::{self, vip::VipError},
    dataplane::bpf,
    lock::LockError,
    root_cause,
    store::StoreError,
};

#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is longer than {LONGEST_DOCUMENT} bytes", path.display())]
    TooLong { path: PathBuf },
    #[error("{} contains access keys but is not secret: {why}", path.display())]
    Exposed { path: PathBuf, why: Exposed },
    #[error("the configuration is not valid")]
    Config(Vec<Diagnostic>),
    #[error("cannot read the host's interfaces and ports: {0}")]
    Host(#[source] io::Error),
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "this ebb was built without its kernel program; `cargo xtask build` builds one that has it"
    )]
    NoProgram,
    #[error(transparent)]
    Kernel(#[from] bpf::StartError),
    #[error(transparent)]
    Vip(#[from] VipError),
    #[error(transparent)]
    Control(#[from] control::Error),
    #[error(transparent)]
    Elb(#[from] elb::StartError),
    #[error(transparent)]
    Metrics(#[from] metrics::StartError),
    #[error(transparent)]
    Console(#[from] console::StartError),
    #[error("cannot start the agent's threads: {0}")]
    Threads(#[source] io::Error),
    #[error("cannot serve on {interface}: {message}")]
    Interface {
        interface: String,
        message: String,
        hint: Option<String>,
    },
    #[error("cannot remove the kernel program: {0}")]
    Unload(#[from] bpf::AttachError),
    #[error("the control thread stopped unexpectedly")]
    ControlGone,
}

impl AgentError {
    /// The message and everything under it.
    #[must_use]
    pub fn message(&self) -> String {
        match self {
            Self::Control(error) => error.message(),
            // These name their causes themselves.
            other => other.to_string(),
        }
    }

    /// What to do about it, where the message does not say it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => Some(error.hint()),
            Self::Control(error) => error.hint(),
            Self::Interface { hint, .. } => hint.clone(),
            Self::Lock(LockError::Io { path, .. }) if path.starts_with("/sys/fs/bpf") => {
                Some(format!(
                    "a BPF file system must be mounted there: mount -t bpf bpf /sys/fs/bpf; {}",
                    bpffs::HIDDEN
                ))
            }
            Self::Kernel(error) if root_cause::is_forbidden(error) => Some(
                "`ebb doctor` says which rights are missing; in a container, its profile of \
                 system calls may forbid `bpf`, too"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}
