//! Why a health check did not pass, in words for operators.

use std::{fmt, io, time::Duration};

use rustix::io::Errno;

use crate::outbound::clean;

#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{stage} took longer than {} s", limit.as_secs())]
    Timeout { stage: Stage, limit: Duration },
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    #[error("the TLS handshake failed: {why}")]
    Tls { why: String },
    #[error("the answer is not HTTP: {why}")]
    Http { why: String },
    #[error("the connection ended before the answer was complete")]
    CutShort,
    #[error("the answer was {status}; only 200 passes")]
    Status { status: u16 },
    /// The check could not be made, through no fault of the backend's. It says
    /// nothing about it.
    #[error("the agent could not check: {why}")]
    Ours { why: String },
}

/// What a check was waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Connect,
    Handshake,
    Answer,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Handshake => "the TLS handshake",
            Self::Answer => "the answer",
        })
    }
}

impl Failure {
    /// A connection that could not be made, or that the host had no means for.
    #[must_use]
    pub fn connect(error: io::Error) -> Self {
        // A host that is out of something must not find all of its backends
        // unhealthy.
        let ours = matches!(
            Errno::from_io_error(&error),
            Some(
                Errno::MFILE
                    | Errno::NFILE
                    | Errno::NOBUFS
                    | Errno::NOMEM
                    | Errno::ADDRNOTAVAIL
                    | Errno::AFNOSUPPORT
                    | Errno::ACCESS
                    | Errno::PERM
            )
        );
        if ours {
            Self::Ours {
                why: error.to_string(),
            }
        } else {
            Self::Connect(error)
        }
    }

    #[must_use]
    pub fn tls(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Tls {
                why: "the connection ended".to_owned(),
            },
            _ => Self::Tls { why: clean(error) },
        }
    }

    #[must_use]
    pub fn http(error: &hyper::Error) -> Self {
        if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
            Self::CutShort
        } else if error.is_parse() || error.is_parse_status() {
            Self::Http { why: clean(error) }
        } else {
            // A reset, most likely.
            Self::CutShort
        }
    }

    /// Whether it says nothing about the backend.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_is_out_of_something_says_nothing_about_its_backends() {
        for errno in [Errno::MFILE, Errno::ADDRNOTAVAIL, Errno::NOMEM] {
            let failure = Failure::connect(errno.into());
            assert!(failure.is_ours(), "{failure}");
        }
        for errno in [Errno::CONNREFUSED, Errno::HOSTUNREACH, Errno::NETUNREACH] {
            let failure = Failure::connect(errno.into());
            assert!(!failure.is_ours(), "{failure}");
        }
    }
}
