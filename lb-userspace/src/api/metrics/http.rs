//! `GET /metrics`, and nothing else. Who can reach the address may read it;
//! nothing can be changed here.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{CONTENT_TYPE, HeaderValue},
    service::service_fn,
};
use tokio::net::TcpStream;

use super::{latest::Latest, page::FORM};
use crate::{
    api::{
        connections::{self, Door},
        listening::Listening,
        party::Party,
        seats::{Limits, NoPlace},
    },
    control::Handle,
};

/// Why there are no metrics.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot serve metrics at {address}: {source}; give [metrics] another `address`")]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
}

/// The address, listened on.
#[derive(Debug)]
pub struct Endpoint(Listening);

impl Endpoint {
    /// Needs a tokio runtime.
    ///
    /// # Errors
    /// When the address is taken.
    pub fn bind(address: SocketAddr) -> Result<Self, StartError> {
        Listening::bind(address)
            .map(Self)
            .map_err(|source| StartError::Listen { address, source })
    }

    /// Where it listens; the port is known even if any was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

impl Door for Endpoint {
    type Stream = TcpStream;

    const NAME: &'static str = "metrics";

    /// A scraper has one, or two.
    const LIMITS: Limits = Limits {
        connections: 64,
        kept: 0,
    };

    /// Scrapers keep connections from one scrape to the next.
    const HEAD_TIMEOUT: Duration = Duration::from_secs(90);

    async fn accept(&self) -> io::Result<TcpStream> {
        self.0.accept().await
    }

    fn party(stream: &TcpStream) -> io::Result<Party> {
        Ok(Party::at(stream.peer_addr()?.ip()))
    }

    fn full(why: NoPlace) -> (&'static str, String) {
        ("text/plain", format!("{why}\n"))
    }
}

/// Answers at `endpoint` until `stop` is done.
pub async fn serve(endpoint: Endpoint, control: Handle, stop: impl Future<Output = ()>) {
    let latest = Arc::new(Latest::new(control));
    let service = |_: &TcpStream| {
        let latest = Arc::clone(&latest);
        Ok(service_fn(move |request| {
            answer(request, Arc::clone(&latest))
        }))
    };
    connections::serve(endpoint, service, stop).await;
}

async fn answer(
    request: Request<Incoming>,
    latest: Arc<Latest>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, form, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/metrics") => match latest.page().await {
            Ok(text) => (StatusCode::OK, FORM, text),
            Err(error) => plain(error.status(), &error.to_string()),
        },
        (_, "/metrics") => plain(StatusCode::METHOD_NOT_ALLOWED, "only GET"),
        _ => plain(StatusCode::NOT_FOUND, "the metrics are at /metrics"),
    };
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form));
    Ok(response)
}

fn plain(status: StatusCode, text: &str) -> (StatusCode, &'static str, Bytes) {
    let text = format!("{text}\n").into();
    (status, "text/plain; charset=utf-8", text)
}
