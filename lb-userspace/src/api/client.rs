//! The admin API from the other side of the socket: what the CLI speaks.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{net::UnixStream, task::JoinSet};

use crate::wire::{
    Applied, Apply, Attributes, AttributesPatch, Backend, Backends, Deleted, Deregister, Error,
    ErrorBody, Event, Events, FlowSort, Flows, HealthByHand, HealthCheck, HealthCheckSetting,
    LoadBalancer, LoadBalancers, NewBackends, NewLoadBalancer, SetHealth, Status,
};

/// No answer is longer; an agent that sends more is broken.
const ANSWER_LIMIT: usize = 256 << 20;

/// No single event is longer.
const EVENT_LIMIT: usize = 1 << 20;

/// An answer means "on disk and in force", so it may take a moment; a minute
/// means that the agent hangs.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What needs no escape in one segment of a path.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b':')
    .remove(b'@')
    .remove(b'=');

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("the agent is not running: {}", absent(socket, source))]
    NotRunning { socket: PathBuf, source: io::Error },
    #[error("no permission to use the agent's socket {}", socket.display())]
    Permission { socket: PathBuf },
    #[error("cannot connect to the agent at {}: {source}", socket.display())]
    Connect { socket: PathBuf, source: io::Error },
    #[error("the agent ended the connection before it answered: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the agent did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("cannot understand the agent's answer: {0}")]
    Garbled(String),
    /// The agent said no.
    #[error("{}", body.message)]
    Refused { status: StatusCode, body: ErrorBody },
}

fn absent(socket: &Path, source: &io::Error) -> String {
    if source.kind() == io::ErrorKind::NotFound {
        format!("there is no socket {}", socket.display())
    } else {
        format!("nobody listens on {}", socket.display())
    }
}

impl ClientError {
    /// True when the agent cannot be reached now but may be in a moment, as
    /// while it is restarted.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NotRunning { .. } | Self::Broken(_) | Self::TimedOut(_) => true,
            Self::Refused { status, .. } => *status == StatusCode::SERVICE_UNAVAILABLE,
            Self::Permission { .. } | Self::Connect { .. } | Self::Garbled(_) => false,
        }
    }

    /// The same in the API's shape, with what to do about it.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let (code, hint) = match self {
            Self::NotRunning { .. } => (
                "agent_not_running",
                Some(
                    "start it with `systemctl start ebb`, or by hand with \
                     `ebb agent --config FILE`; if it listens elsewhere, say where with \
                     --socket PATH or EBB_SOCKET"
                        .to_owned(),
                ),
            ),
            Self::Permission { .. } => (
                "permission_denied",
                Some(
                    "run as root, or as a member of the group that owns the socket: \
                     `usermod --append --groups ebb USER`, then log in again"
                        .to_owned(),
                ),
            ),
            Self::Connect { .. } => ("cannot_connect", None),
            Self::Broken(_) => (
                "connection_broken",
                Some(
                    "it may or may not have been done; look with `ebb status`, and into the \
                     agent's log"
                        .to_owned(),
                ),
            ),
            Self::TimedOut(_) => (
                "timed_out",
                Some("it may or may not have been done; look into the agent's log".to_owned()),
            ),
            Self::Garbled(_) => (
                "garbled_answer",
                Some("are this command and the agent of the same version?".to_owned()),
            ),
            Self::Refused { body, .. } => return body.clone(),
        };
        ErrorBody {
            code: code.to_owned(),
            message: self.to_string(),
            hint,
        }
    }
}

type Result<T> = std::result::Result<T, ClientError>;

/// Speaks to one agent. Each call is one connection.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
        }
    }

    pub async fn status(&self) -> Result<Status> {
        self.get("/v1/status").await
    }

    pub async fn load_balancers(&self) -> Result<LoadBalancers> {
        self.get("/v1/load-balancers").await
    }

    pub async fn load_balancer(&self, lb: &str) -> Result<LoadBalancer> {
        self.get(&lb_path(lb, "")).await
    }

    pub async fn create(&self, new: &NewLoadBalancer) -> Result<LoadBalancer> {
        self.send(Method::POST, "/v1/load-balancers", new).await
    }

    pub async fn delete(&self, lb: &str, how: &Deregister) -> Result<Deleted> {
        let mut path = lb_path(lb, &format!("?now={}", how.now));
        if let Some(timeout) = how.timeout {
            path.push_str(&format!("&timeout={timeout}"));
        }
        self.ask(Method::DELETE, &path, None).await
    }

    pub async fn backends(&self, lb: &str) -> Result<Backends> {
        self.get(&lb_path(lb, "/backends")).await
    }

    pub async fn backend(&self, lb: &str, id: &str) -> Result<Backend> {
        self.get(&backend_path(lb, id, "")).await
    }

    pub async fn register(&self, lb: &str, new: &NewBackends) -> Result<Backends> {
        self.send(Method::POST, &lb_path(lb, "/backends"), new)
            .await
    }

    pub async fn deregister(&self, lb: &str, id: &str, how: &Deregister) -> Result<Backend> {
        self.send(Method::POST, &backend_path(lb, id, "/deregister"), how)
            .await
    }

    pub async fn set_health(&self, lb: &str, id: &str, health: HealthByHand) -> Result<Backend> {
        let body = SetHealth { health };
        self.send(Method::PUT, &backend_path(lb, id, "/health"), &body)
            .await
    }

    pub async fn attributes(&self, lb: &str) -> Result<Attributes> {
        self.get(&lb_path(lb, "/attributes")).await
    }

    pub async fn set_attributes(&self, lb: &str, patch: &AttributesPatch) -> Result<Attributes> {
        self.send(Method::PATCH, &lb_path(lb, "/attributes"), patch)
            .await
    }

    pub async fn health_check(&self, lb: &str) -> Result<HealthCheckSetting> {
        self.get(&lb_path(lb, "/health-check")).await
    }

    pub async fn set_health_check(
        &self,
        lb: &str,
        health_check: Option<HealthCheck>,
    ) -> Result<HealthCheckSetting> {
        let body = HealthCheckSetting { health_check };
        self.send(Method::PUT, &lb_path(lb, "/health-check"), &body)
            .await
    }

    pub async fn flows(
        &self,
        lb: &str,
        backend: Option<&str>,
        limit: u32,
        sort: FlowSort,
    ) -> Result<Flows> {
        let sort = match sort {
            FlowSort::Age => "age",
            FlowSort::Idle => "idle",
            FlowSort::Bytes => "bytes",
        };
        let mut path = lb_path(lb, &format!("/flows?limit={limit}&sort={sort}"));
        if let Some(id) = backend {
            path.push_str("&backend=");
            // Stricter than a path's segment: `=` and `&` mean something here.
            path.extend(utf8_percent_encode(id, NON_ALPHANUMERIC));
        }
        self.get(&path).await
    }

    pub async fn apply(&self, apply: &Apply) -> Result<Applied> {
        self.send(Method::POST, "/v1/apply", apply).await
    }

    /// The latest events that the agent keeps.
    pub async fn events(&self) -> Result<Events> {
        self.get("/v1/events").await
    }

    /// The events after number `after`, or from now on.
    pub async fn follow(&self, after: Option<u64>) -> Result<EventStream> {
        let mut path = "/v1/events?follow=true".to_owned();
        if let Some(after) = after {
            path.push_str(&format!("&after={after}"));
        }
        let answer = self.begin(Method::GET, &path, None);
        let (status, body, connection) = in_time(answer).await?;
        if status.is_success() {
            return Ok(EventStream {
                body,
                buffer: Vec::new(),
                _connection: connection,
            });
        }
        Err(refused(status, &in_time(whole(body)).await?))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask(Method::GET, path, None).await
    }

    async fn send<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T> {
        let body = serde_json::to_vec(body).map_err(|e| ClientError::Garbled(e.to_string()))?;
        self.ask(method, path, Some(body)).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<T> {
        let (status, answer) = in_time(async {
            let (status, body, _connection) = self.begin(method, path, body).await?;
            Ok((status, whole(body).await?))
        })
        .await?;
        if status.is_success() {
            serde_json::from_slice(&answer).map_err(|e| ClientError::Garbled(e.to_string()))
        } else {
            Err(refused(status, &answer))
        }
    }

    /// One request on a connection of its own; the answer's body is still to
    /// come.
    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<(StatusCode, Incoming, Connection)> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|source| self.connect_error(source))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "ebb")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body.unwrap_or_default())))
            .map_err(|e| ClientError::Garbled(e.to_string()))?;
        let answer = sender.send_request(request).await?;
        let connection = Connection {
            _sender: sender,
            _driver: driver,
        };
        Ok((answer.status(), answer.into_body(), connection))
    }

    fn connect_error(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ClientError::NotRunning { socket, source }
            }
            io::ErrorKind::PermissionDenied => ClientError::Permission { socket },
            _ => ClientError::Connect { socket, source },
        }
    }
}

/// What an answer's body comes through; closed when dropped.
#[derive(Debug)]
struct Connection {
    _sender: http1::SendRequest<Full<Bytes>>,
    _driver: JoinSet<std::result::Result<(), hyper::Error>>,
}

/// Events as they happen.
#[derive(Debug)]
pub struct EventStream {
    body: Incoming,
    buffer: Vec<u8>,
    _connection: Connection,
}

impl EventStream {
    /// The next event; none when the agent leaves.
    pub async fn next(&mut self) -> Result<Option<Event>> {
        loop {
            while let Some(event) = self.take()? {
                if let Some(event) = event {
                    return Ok(Some(event));
                }
            }
            if self.buffer.len() > EVENT_LIMIT {
                return Err(ClientError::Garbled("an event without an end".to_owned()));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(bytes) = frame?.into_data() {
                self.buffer.extend_from_slice(&bytes);
            }
        }
    }

    /// One message from the buffer: an event, or something that is none, such
    /// as the comment that keeps the connection alive.
    fn take(&mut self) -> Result<Option<Option<Event>>> {
        let Some(end) = self.buffer.windows(2).position(|w| w == b"\n\n") else {
            return Ok(None);
        };
        let message: Vec<u8> = self.buffer.drain(..end + 2).collect();
        let data = message
            .split(|byte| *byte == b'\n')
            .find_map(|line| line.strip_prefix(b"data:"));
        data.map(|data| {
            serde_json::from_slice(data).map_err(|e| ClientError::Garbled(e.to_string()))
        })
        .transpose()
        .map(Some)
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(TIMEOUT, answer)
        .await
        .map_err(|_| ClientError::TimedOut(TIMEOUT))?
}

async fn whole(body: Incoming) -> Result<Bytes> {
    let body = Limited::new(body, ANSWER_LIMIT)
        .collect()
        .await
        .map_err(|e| ClientError::Garbled(e.to_string()))?;
    Ok(body.to_bytes())
}

fn refused(status: StatusCode, answer: &[u8]) -> ClientError {
    match serde_json::from_slice::<Error>(answer) {
        Ok(Error { error: body }) => ClientError::Refused { status, body },
        Err(_) => ClientError::Garbled(format!("HTTP status {status}")),
    }
}

fn lb_path(lb: &str, rest: &str) -> String {
    format!(
        "/v1/load-balancers/{}{rest}",
        utf8_percent_encode(lb, SEGMENT)
    )
}

fn backend_path(lb: &str, id: &str, rest: &str) -> String {
    lb_path(
        lb,
        &format!("/backends/{}{rest}", utf8_percent_encode(id, SEGMENT)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_out_of_their_segment() {
        assert_eq!(
            backend_path("a/b", "x?y#z %", "/health"),
            "/v1/load-balancers/a%2Fb/backends/x%3Fy%23z%20%25/health"
        );
        assert_eq!(
            backend_path("web", "fd00::1@a=b", ""),
            "/v1/load-balancers/web/backends/fd00::1@a=b"
        );
    }
}
