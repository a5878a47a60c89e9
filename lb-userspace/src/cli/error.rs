//! Why a verb failed, in words and in the API's shape.

use std::{io, path::PathBuf};

use crate::{
    agent::AgentError, api::client::ClientError, config::Diagnostic, decap::DecapError,
    logging::LoggingError, wire::ErrorBody,
};

#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is longer than {limit} bytes, the most that the agent takes", path.display())]
    TooLong { path: PathBuf, limit: usize },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{name} is not valid:\n{}", lines(faults))]
    Document {
        name: String,
        faults: Vec<Diagnostic>,
    },
    #[error("cannot read this host's interfaces: {0}")]
    Host(io::Error),
    #[error("no interface of this host other than loopback is up and has an address")]
    NoInterfaceToServe,
    #[error("{} already exists", path.display())]
    FileIsThere { path: PathBuf },
    #[error("cannot print: {0}")]
    Print(io::Error),
    #[error("not JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("`ebb top` needs a terminal")]
    NoTerminal,
    #[error("nobody is there to be asked")]
    NobodyToAsk,
    #[error("stopped before the agent answered")]
    Stopped,
    #[error("the terminal failed: {0}")]
    Terminal(io::Error),
    #[error("cannot start: {0}")]
    Runtime(io::Error),
    #[error(transparent)]
    Agent(AgentError),
    #[error(transparent)]
    Logging(#[from] LoggingError),
    #[error(transparent)]
    Decap(#[from] DecapError),
    #[error("{backend} of {lb} was registered again: the drain is cancelled and its flows stay")]
    DrainCancelled { lb: String, backend: String },
    #[error("{lb} has no health check yet; give it one with --target")]
    NoCheckYet { lb: String },
    #[error("stopped waiting; {backend} of {lb} continues to drain")]
    Interrupted { lb: String, backend: String },
}

impl CliError {
    /// The same in the API's shape, with what to do about it.
    pub(super) fn body(&self) -> ErrorBody {
        let (code, hint) = match self {
            Self::Client(e) => return e.body(),
            Self::Read { .. } => ("cannot_read", None),
            Self::TooLong { .. } => ("too_long", None),
            Self::Write { .. } => ("cannot_write", None),
            Self::Document { .. } => ("bad_document", None),
            Self::Host(_) => (
                "cannot_read_host",
                Some("--elsewhere checks the file without them".to_owned()),
            ),
            Self::NoInterfaceToServe => (
                "no_interface",
                Some(
                    "`ip address` lists the interfaces; `ip link set dev eth0 up` brings one up"
                        .to_owned(),
                ),
            ),
            Self::FileIsThere { path } => (
                "file_is_there",
                Some(format!(
                    "--force replaces it and keeps the old one as {}~; `ebb init -` prints the new one",
                    path.display()
                )),
            ),
            Self::Print(_) => ("cannot_print", None),
            Self::Json(_) => ("not_json", None),
            Self::Agent(e) => ("cannot_run", e.hint()),
            Self::Logging(_) => ("bad_log_filter", None),
            Self::Decap(_) => ("cannot_decapsulate", None),
            Self::NoTerminal => (
                "no_terminal",
                Some(
                    "without one, use `ebb lb list --json` or `ebb events --follow --json`"
                        .to_owned(),
                ),
            ),
            Self::NobodyToAsk => (
                "nobody_to_ask",
                Some("--yes runs every command without asking".to_owned()),
            ),
            Self::Stopped => ("stopped", None),
            Self::Terminal(_) => ("terminal", None),
            Self::Runtime(_) => ("cannot_start", None),
            Self::NoCheckYet { lb } => (
                "no_health_check",
                Some(format!("ebb lb health-check {lb} --target HTTP:80/ping")),
            ),
            Self::DrainCancelled { .. } => ("drain_cancelled", None),
            Self::Interrupted { lb, backend } => (
                "interrupted",
                Some(format!(
                    "`ebb backend deregister {lb} {backend} --wait` waits again; \
                     `ebb backend register` cancels the drain"
                )),
            ),
        };
        let message = match self {
            Self::Agent(e) => e.message(),
            other => other.to_string(),
        };
        ErrorBody {
            code: code.to_owned(),
            message,
            hint,
        }
    }
}

fn lines(faults: &[Diagnostic]) -> String {
    let lines: Vec<_> = faults.iter().map(|fault| format!("  {fault}")).collect();
    lines.join("\n")
}

/// Wrong usage in the API's shape: clap's words without its layout.
pub(super) fn usage(e: &clap::Error) -> ErrorBody {
    let text = e.render().to_string();
    let mut parts = text
        .split("\n\n")
        .map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let message = parts.next().unwrap_or_default();
    let hint = parts.find_map(|part| part.strip_prefix("tip: ").map(str::to_owned));
    ErrorBody {
        code: "usage".to_owned(),
        message: message
            .strip_prefix("error: ")
            .unwrap_or(&message)
            .to_owned(),
        hint,
    }
}
