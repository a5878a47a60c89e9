//! One event, brought to a command or posted by HTTP, within the hook's time.

use std::{io, process::Stdio};

use http_body_util::Full;
use hyper::{
    Request, StatusCode, Uri,
    body::Bytes,
    header::{CONNECTION, CONTENT_TYPE, HOST, USER_AGENT},
};
use rustls::pki_types::ServerName;
use tokio::{io::AsyncWriteExt as _, net::TcpStream, process::Command, time::timeout};

use crate::{
    config::{Hook, HookDoes},
    outbound::{
        clean,
        http::exchange,
        tls::{Tls, TlsError},
    },
    wire::Event,
};

/// A receiver's log can tell hooks by this.
const AGENT: &str = concat!("ebb-hook/", env!("CARGO_PKG_VERSION"));

/// Why an event was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverError {
    #[error("the hook took longer than {} s", .0.as_secs())]
    TooLong(std::time::Duration),
    #[error("the event cannot be encoded: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot run {program}: {source}")]
    Run { program: String, source: io::Error },
    #[error("{program} ended with {status}")]
    Exit {
        program: String,
        status: std::process::ExitStatus,
    },
    #[error("cannot connect to {host}: {source}")]
    Connect { host: String, source: io::Error },
    #[error("the TLS handshake with {host} failed: {source}")]
    Tls { host: String, source: io::Error },
    #[error(transparent)]
    NoTls(#[from] TlsError),
    #[error("cannot send to {url}: {source}")]
    Request {
        url: Uri,
        source: hyper::http::Error,
    },
    #[error("no answer from {host}: {reason}")]
    Answer { host: String, reason: String },
    #[error("{host} answered {status}")]
    Status { host: String, status: StatusCode },
}

/// Brings events. What TLS needs is made when it is needed first.
#[derive(Debug, Default)]
pub(super) struct Deliverer {
    tls: Tls,
}

impl Deliverer {
    /// Tries once.
    pub(super) async fn deliver(&self, hook: &Hook, event: &Event) -> Result<(), DeliverError> {
        let body = serde_json::to_vec(event)?;
        let delivery = async {
            match &hook.does {
                HookDoes::Run(command) => run(command, event, &body).await,
                HookDoes::Post(url) => self.post(url, body).await,
            }
        };
        timeout(hook.timeout, delivery)
            .await
            .map_err(|_| DeliverError::TooLong(hook.timeout))?
    }

    async fn post(&self, url: &Uri, body: Vec<u8>) -> Result<(), DeliverError> {
        let secure = url.scheme_str() == Some("https");
        // The configuration takes no URL without one.
        let host = url.host().unwrap_or_default().to_owned();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let connected = TcpStream::connect((bare, port)).await;
        let stream = connected.map_err(|source| DeliverError::Connect {
            host: host.clone(),
            source,
        })?;
        let failed = |source| DeliverError::Request {
            url: url.clone(),
            source,
        };
        let authority = url.authority().map_or("", |authority| authority.as_str());
        let request = Request::post(url.path_and_query().map_or("/", |path| path.as_str()))
            .header(HOST, authority)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close")
            .body(Full::<Bytes>::from(body))
            .map_err(failed)?;
        let answer = if secure {
            let name = ServerName::try_from(bare.to_owned());
            let name = name.map_err(|error| DeliverError::Tls {
                host: host.clone(),
                source: io::Error::other(error),
            })?;
            let connector = self.tls.verified().await?;
            let stream = connector.connect(name, stream).await;
            let stream = stream.map_err(|source| DeliverError::Tls {
                host: host.clone(),
                source,
            })?;
            exchange(stream, request).await
        } else {
            exchange(stream, request).await
        };
        let answer = answer.map_err(|error| DeliverError::Answer {
            host: host.clone(),
            reason: clean(&error),
        })?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(DeliverError::Status {
                host,
                status: answer.status,
            })
        }
    }
}

/// Runs the command with the event as JSON on its input, and what matters of it
/// in its environment. It is killed when the hook's time is over.
async fn run(command: &[String], event: &Event, body: &[u8]) -> Result<(), DeliverError> {
    let (program, arguments) = command
        .split_first()
        .map_or(("", &[][..]), |(program, rest)| (program.as_str(), rest));
    let failed = |source| DeliverError::Run {
        program: program.to_owned(),
        source,
    };
    let mut child = Command::new(program)
        .args(arguments)
        .env("EBB_EVENT", event.what.name())
        .env("EBB_EVENT_NUMBER", event.number.to_string())
        .env("EBB_LOAD_BALANCER", &event.load_balancer)
        .env("EBB_BACKEND", event.backend.as_deref().unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A command that does not care for it closes its input.
        drop(input.write_all(body).await);
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        Ok(())
    } else {
        Err(DeliverError::Exit {
            program: program.to_owned(),
            status,
        })
    }
}
