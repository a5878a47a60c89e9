//! Why a command was not carried out: what happened, to what, and what to do.

use crate::{
    config::Diagnostic,
    dataplane::DataplaneError,
    model::{Full, Invalid},
    state::Missing,
};

/// An answer that is a refusal. Nothing has changed when one is given.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no load balancer named {name:?}")]
    NoSuchLoadBalancer {
        name: String,
        nearest: Option<String>,
    },
    #[error("load balancer {lb:?} has no backend {id:?}")]
    NoSuchBackend {
        lb: String,
        id: String,
        nearest: Option<String>,
    },
    #[error("load balancer {lb:?} has no listener {listener}")]
    NoSuchListener { lb: String, listener: String },
    #[error("a load balancer named {name:?} already exists")]
    LoadBalancerExists { name: String },
    #[error(
        "load balancer {name:?} is being deleted; {draining} of its backends are still draining"
    )]
    BeingDeleted { name: String, draining: usize },
    #[error(
        "backend {id:?} of load balancer {lb:?} has the address {registered}; it cannot become {asked}"
    )]
    OtherAddress {
        lb: String,
        id: String,
        registered: std::net::IpAddr,
        asked: std::net::IpAddr,
    },
    #[error("load balancer {lb:?} is {current}; its mode cannot become {asked}")]
    OtherMode {
        lb: String,
        current: &'static str,
        asked: &'static str,
    },
    #[error("backend {id:?} of load balancer {lb:?} is not registered")]
    NotRegistered { lb: String, id: String },
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("the document is not valid\n{}", lines(.0))]
    Document(Vec<Diagnostic>),
    #[error(transparent)]
    Full(#[from] Full),
    #[error("the change could not be stored, so it was not made")]
    Store(#[source] crate::store::StoreError),
    #[error("the kernel refused the change, so it was rolled back")]
    Dataplane(#[source] DataplaneError),
    #[error("a VIP could not be added to its interface, so the change was rolled back")]
    Vip(#[source] super::vip::VipError),
    #[error("the agent is stopping")]
    Stopping,
}

/// Whose turn it is after a refusal; the admin API's status code follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// What was named is not there (404).
    NotFound,
    /// The request is wrong in itself (400).
    Invalid,
    /// The request is right, but not in this state (409).
    Conflict,
    /// The agent could not (500).
    Failed,
    /// The agent is on its way out (503).
    Unavailable,
}

impl From<Missing> for Error {
    fn from(missing: Missing) -> Self {
        match missing {
            Missing::LoadBalancer { name, nearest } => Self::NoSuchLoadBalancer { name, nearest },
            Missing::Backend { lb, id, nearest } => Self::NoSuchBackend { lb, id, nearest },
        }
    }
}

impl From<DataplaneError> for Error {
    fn from(error: DataplaneError) -> Self {
        match error {
            DataplaneError::Full(full) => Self::Full(full),
            error => Self::Dataplane(error),
        }
    }
}

impl Error {
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::NoSuchLoadBalancer { .. }
            | Self::NoSuchBackend { .. }
            | Self::NoSuchListener { .. } => Kind::NotFound,
            Self::Invalid(_) | Self::Document(_) => Kind::Invalid,
            Self::LoadBalancerExists { .. }
            | Self::BeingDeleted { .. }
            | Self::OtherAddress { .. }
            | Self::OtherMode { .. }
            | Self::NotRegistered { .. }
            | Self::Full(_) => Kind::Conflict,
            Self::Store(_) | Self::Dataplane(_) | Self::Vip(_) => Kind::Failed,
            Self::Stopping => Kind::Unavailable,
        }
    }

    /// The message and everything under it, on one line.
    #[must_use]
    pub fn message(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }

    /// The load balancer that it is about, if it is about one.
    #[must_use]
    pub fn load_balancer(&self) -> Option<&str> {
        match self {
            Self::NoSuchLoadBalancer { name, .. }
            | Self::LoadBalancerExists { name }
            | Self::BeingDeleted { name, .. } => Some(name),
            Self::NoSuchBackend { lb, .. }
            | Self::NoSuchListener { lb, .. }
            | Self::OtherAddress { lb, .. }
            | Self::OtherMode { lb, .. }
            | Self::NotRegistered { lb, .. } => Some(lb),
            Self::Invalid(invalid) => invalid.load_balancer(),
            _ => None,
        }
    }

    /// For programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoSuchLoadBalancer { .. } => "no_such_load_balancer",
            Self::NoSuchBackend { .. } => "no_such_backend",
            Self::NoSuchListener { .. } => "no_such_listener",
            Self::LoadBalancerExists { .. } => "load_balancer_exists",
            Self::BeingDeleted { .. } => "being_deleted",
            Self::OtherAddress { .. } => "other_address",
            Self::OtherMode { .. } => "other_mode",
            Self::NotRegistered { .. } => "not_registered",
            Self::Invalid(invalid) => invalid.code(),
            Self::Document(_) => "bad_document",
            Self::Full(_) => "table_full",
            Self::Store(_) => "store_failed",
            Self::Dataplane(_) => "kernel_refused",
            Self::Vip(_) => "vip_failed",
            Self::Stopping => "stopping",
        }
    }

    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoSuchLoadBalancer { nearest, .. } | Self::NoSuchBackend { nearest, .. } => {
                nearest
                    .as_ref()
                    .map(|name| format!("did you mean {name:?}?"))
            }
            Self::BeingDeleted { name, .. } => Some(format!(
                "wait for the drains to end, or cut them short with `ebb lb delete {name} --now`"
            )),
            Self::OtherAddress { .. } => Some(
                "give the new server another id, or deregister this one and wait until it is gone"
                    .to_owned(),
            ),
            Self::OtherMode { .. } => {
                Some("create another load balancer, or delete this one first".to_owned())
            }
            Self::NotRegistered { lb, .. } => Some(format!(
                "register it first: `ebb backend register {lb} ADDRESS`"
            )),
            Self::Invalid(invalid) => invalid.hint(),
            Self::Store(error) => Some(error.hint()),
            Self::Full(full) => Some(full.hint()),
            _ => None,
        }
    }
}

fn lines(diagnostics: &[Diagnostic]) -> String {
    diagnostics
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}
