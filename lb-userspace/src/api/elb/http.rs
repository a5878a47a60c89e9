//! The Query API on its TCP address: a request, from its bytes to its answer.

use std::{
    convert::Infallible,
    fmt::Display,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
    http::request::Parts,
    service::service_fn,
};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::{
    actions, browser,
    desk::{Desk, Shared},
    errors::{Code, Refusal},
    sigv4,
    xml::Xml,
};
use crate::{
    api::{
        connections::{self, Door},
        listening::Listening,
    },
    config::{AccessKeys, AccessKeysError, ElbApi},
    control::Handle,
};

/// A thousand instances to register are a tenth of it.
const BODY_LIMIT: usize = 1 << 20;
/// The whole body must be here by then.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");

/// Why the Query API does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the ELB API cannot listen on {address}: {source}; give it another `listen` in [elb_api]"
    )]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    AccessKeys(#[from] AccessKeysError),
}

/// The address, listened on, with who may ask there.
#[derive(Debug)]
pub struct Endpoint {
    listening: Listening,
    keys: AccessKeys,
    shared: Arc<Shared>,
}

impl Endpoint {
    /// Reads the access keys and listens. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the keys cannot be read, or the address is taken.
    pub fn bind(settings: ElbApi) -> Result<Self, StartError> {
        let keys = settings.entrance.all_access_keys()?;
        let address = settings.entrance.listen;
        let listening =
            Listening::bind(address).map_err(|source| StartError::Listen { address, source })?;
        Ok(Self {
            listening,
            keys,
            shared: Arc::new(Shared::new(settings)),
        })
    }

    /// Where it listens; the port is known even if any was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }
}

/// The listener as the Query API's door.
struct Front(Listening);

impl Door for Front {
    type Stream = TcpStream;

    const NAME: &'static str = "ELB API";

    const CONNECTIONS: usize = 256;

    /// Clients keep connections and ask every 15 s while they wait.
    const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

    async fn accept(&self) -> io::Result<TcpStream> {
        self.0.accept().await
    }

    fn full() -> (&'static str, String) {
        let refusal = Refusal::new(
            Code::ServiceUnavailable,
            format!("{} connections are open already", Self::CONNECTIONS),
        );
        (XML, error_document(&refusal, &Uuid::new_v4()))
    }
}

/// Answers at `endpoint`, for the control task behind `control`, until `stop`
/// is done; then lets what is under way end.
pub async fn serve(endpoint: Endpoint, control: Handle, stop: impl Future<Output = ()>) {
    let Endpoint {
        listening,
        keys,
        shared,
    } = endpoint;
    let office = Arc::new(Office {
        keys,
        shared,
        control,
    });
    let service = |stream: &TcpStream| {
        let peer = stream.peer_addr()?;
        let office = Arc::clone(&office);
        Ok(service_fn(move |request| {
            let office = Arc::clone(&office);
            async move { Ok::<_, Infallible>(office.answer(request, peer).await) }
        }))
    };
    connections::serve(Front(listening), service, stop).await;
}

/// What every connection shares.
#[derive(Debug)]
struct Office {
    keys: AccessKeys,
    shared: Arc<Shared>,
    control: Handle,
}

const XML: &str = "text/xml";

impl Office {
    /// Every request has an answer.
    async fn answer<B>(&self, request: Request<B>, peer: SocketAddr) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send, Error: Display + Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let id = Uuid::new_v4();
        let (status, document) = match self.perform(request, peer).await {
            Ok((action, result)) => (StatusCode::OK, result_document(action, &result, &id)),
            Err(refusal) => {
                tracing::debug!(%peer, %id, code = refusal.code.name(), "{}", refusal.message);
                (refusal.code.status(), error_document(&refusal, &id))
            }
        };
        let mut response = Response::new(Full::from(document));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(XML));
        if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
            headers.insert(REQUEST_ID, id);
        }
        response
    }

    async fn perform<B>(
        &self,
        request: Request<B>,
        peer: SocketAddr,
    ) -> Result<(&'static str, Xml), Refusal>
    where
        B: Body<Data: Send, Error: Display + Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
    {
        let (head, body) = request.into_parts();
        let body = read(body).await?;
        let by = self.caller(&head, &body, peer, SystemTime::now())?;
        let form = match head.method {
            Method::POST => match head.uri.query() {
                None | Some("") => &*body,
                Some(_) => {
                    return Err(Refusal::new(
                        Code::MalformedQueryString,
                        "a POST has its parameters in the body, and none after a ?",
                    ));
                }
            },
            Method::GET => head.uri.query().unwrap_or("").as_bytes(),
            _ => {
                return Err(Refusal::new(
                    Code::InvalidAction,
                    "requests are POST with a form, or GET with a query",
                ));
            }
        };
        let desk = Desk::new(self.control.by(&by), Arc::clone(&self.shared));
        actions::perform_form(form, &desk).await
    }

    /// Who asks, for the audit; or that they may not.
    fn caller(
        &self,
        head: &Parts,
        body: &[u8],
        peer: SocketAddr,
        now: SystemTime,
    ) -> Result<String, Refusal> {
        if self.keys.is_empty() {
            // A signature by whatever key is neither needed nor looked at.
            browser::refuse(&head.headers)?;
            return Ok(format!("elb {peer}"));
        }
        let signed = sigv4::Signed {
            method: &head.method,
            uri: &head.uri,
            headers: &head.headers,
            body,
        };
        let key = sigv4::verify(signed, &self.keys, now)?;
        Ok(format!("elb {peer} key {key}"))
    }
}

async fn read<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body<Data: Send, Error: Display + Into<Box<dyn std::error::Error + Send + Sync>>> + Send,
{
    let whole = Limited::new(body, BODY_LIMIT).collect();
    match tokio::time::timeout(BODY_TIMEOUT, whole).await {
        Err(_) => Err(Refusal::validation(format!(
            "the request was not here within {} s",
            BODY_TIMEOUT.as_secs()
        ))),
        Ok(Err(e)) if e.is::<LengthLimitError>() => Err(Refusal::validation(format!(
            "the request is larger than {BODY_LIMIT} bytes"
        ))),
        Ok(Err(e)) => Err(Refusal::validation(format!("the request broke off: {e}"))),
        Ok(Ok(whole)) => Ok(whole.to_bytes()),
    }
}

fn result_document(action: &str, result: &Xml, id: &Uuid) -> String {
    let mut xml = Xml::default();
    xml.put(&format!("{action}Result"), result)
        .within("ResponseMetadata", |xml| {
            xml.text("RequestId", id);
        });
    xml.document(&format!("{action}Response"))
}

fn error_document(refusal: &Refusal, id: &Uuid) -> String {
    let mut xml = Xml::default();
    xml.within("Error", |xml| {
        xml.text("Type", refusal.fault())
            .text("Code", refusal.code.name())
            .text("Message", &refusal.message);
    })
    .text("RequestId", id);
    xml.document("ErrorResponse")
}
