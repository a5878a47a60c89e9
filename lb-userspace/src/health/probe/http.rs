//! One GET, and what its answer says about the server.

use std::net::SocketAddr;

use http_body_util::Empty;
use hyper::{
    Request, StatusCode,
    body::Bytes,
    header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    health::failure::Failure,
    model::{HealthCheck, Path},
    outbound::http::exchange,
};

/// Health checks can be told from clients in a server's log by this.
const AGENT: &str = concat!("ebb-health/", env!("CARGO_PKG_VERSION"));

/// What the `Host` field says: the server name, or the address.
pub(super) fn host(to: SocketAddr, check: &HealthCheck) -> String {
    match check.server_name() {
        Some(name) if to.port() == 443 => name.as_ref().to_owned(),
        Some(name) => format!("{}:{}", name.as_ref(), to.port()),
        None => to.to_string(),
    }
}

/// Asks for `path` and judges the answer.
pub(super) async fn get<S>(stream: S, path: &Path, host: String) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let answer = exchange(stream, request(path, host)?)
        .await
        .map_err(|error| Failure::http(&error))?;
    match (answer.status, answer.broken) {
        (StatusCode::OK, None) => Ok(()),
        (StatusCode::OK, Some(error)) => Err(Failure::http(&error)),
        (status, _) => Err(Failure::Status {
            status: status.as_u16(),
        }),
    }
}

fn request(path: &Path, host: String) -> Result<Request<Empty<Bytes>>, Failure> {
    // The path and the name were checked at the border; this is the belt to
    // those braces.
    let ours = |error: hyper::http::Error| Failure::Ours {
        why: error.to_string(),
    };
    Request::get(path.encoded().as_ref())
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static(AGENT))
        .header(ACCEPT, HeaderValue::from_static("*/*"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::new())
        .map_err(ours)
}
