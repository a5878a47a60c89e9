//! One GET on a connection of its own. The status decides; the rest is read to
//! its end, as far as that is bearable, so that no server sees a reset.

use std::{net::SocketAddr, pin::pin};

use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::health::{check::HealthCheck, failure::Failure, target::Path};

/// The room for an answer's head.
const HEAD_MAX: usize = 16 << 10;
/// How much of an answer's body is read before it is enough.
const BODY_MAX: usize = 64 << 10;

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

/// Asks for `path` and reads the answer.
pub(super) async fn get<S>(stream: S, path: &Path, host: String) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let request = request(path, host)?;
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| Failure::http(&error))?;
    let mut answer = pin!(async move {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| Failure::http(&error))?;
        judge(response).await
    });
    tokio::select! {
        judged = &mut answer => judged,
        // Whatever the connection had to say, the answer has it by now.
        _ = connection => answer.await,
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

async fn judge(response: Response<Incoming>) -> Result<(), Failure> {
    let status = response.status();
    let mut body = response.into_body();
    let mut read = 0;
    while read < BODY_MAX
        && let Some(frame) = body.frame().await
    {
        let frame = match frame {
            Ok(frame) => frame,
            // A wrong status is the better reason.
            Err(_) if status != StatusCode::OK => break,
            Err(error) => return Err(Failure::http(&error)),
        };
        read += frame.data_ref().map_or(0, Bytes::len);
    }
    if status == StatusCode::OK {
        Ok(())
    } else {
        Err(Failure::Status {
            status: status.as_u16(),
        })
    }
}
