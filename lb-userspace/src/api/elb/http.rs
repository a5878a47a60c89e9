//! The Query API on its TCP address: a request, from its bytes to its answer.

use std::{
    convert::Infallible,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
    http::request::Parts,
    service::service_fn,
};
use tokio::{net::TcpStream, time::Instant};
use uuid::Uuid;

use super::{
    actions, browser,
    desk::{Desk, MayChange, Shared},
    errors::{Code, Refusal, shortened},
    sigv4::Claim,
    xml::Xml,
};
use crate::{
    api::{
        body,
        connections::{self, Door},
        ends::Ends,
        host::Names,
        listening::Listening,
        operators::Operators,
        party::Party,
        seats::{Limits, NoPlace, Seat},
        tries::Tries,
    },
    config::{AccessKeys, AccessKeysError, ElbApi},
    control::Handle,
    seldom::Seldom,
};

/// A thousand instances to register are a tenth of it.
const BODY_LIMIT: usize = 1 << 20;

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
    names: Names,
    operators: Operators,
    shared: Arc<Shared>,
}

impl Endpoint {
    /// Reads the access keys and listens. Without keys, `operators` may change
    /// something. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the keys cannot be read, or the address is taken.
    pub fn bind(settings: ElbApi, operators: Operators) -> Result<Self, StartError> {
        let keys = settings.entrance.all_access_keys()?;
        let address = settings.entrance.listen;
        let listening =
            Listening::bind(address).map_err(|source| StartError::Listen { address, source })?;
        Ok(Self {
            listening,
            keys,
            names: Names::new(settings.entrance.names.clone()),
            operators,
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

    const LIMITS: Limits = Limits {
        connections: 256,
        kept: 0,
    };

    /// Clients keep connections and ask every 15 s while they wait.
    const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

    async fn accept(&self) -> io::Result<TcpStream> {
        self.0.accept().await
    }

    fn party(stream: &TcpStream) -> io::Result<Party> {
        Ok(Party::at(stream.peer_addr()?.ip()))
    }

    fn full(why: NoPlace) -> (&'static str, String) {
        let refusal = Refusal::new(Code::ServiceUnavailable, why.to_string());
        (XML, error_document(&refusal, &Uuid::new_v4()))
    }
}

/// Answers at `endpoint`, for the control task behind `control`, until `stop`
/// is done; then lets what is under way end.
pub async fn serve(endpoint: Endpoint, control: Handle, stop: impl Future<Output = ()>) {
    let Endpoint {
        listening,
        keys,
        names,
        operators,
        shared,
    } = endpoint;
    let office = Arc::new(Office {
        keys,
        names,
        operators,
        tries: Tries::default(),
        wrong: Seldom::default(),
        shared,
        control,
    });
    let service = |stream: &TcpStream| {
        let ends = Ends::of(stream)?;
        let office = Arc::clone(&office);
        Ok(service_fn(move |request| {
            let office = Arc::clone(&office);
            async move { Ok::<_, Infallible>(office.answer(request, ends).await) }
        }))
    };
    connections::serve(Front(listening), service, stop).await;
}

/// What every connection shares.
#[derive(Debug)]
struct Office {
    keys: AccessKeys,
    names: Names,
    operators: Operators,
    tries: Tries,
    /// Signatures that were wrong, in the log.
    wrong: Seldom,
    shared: Arc<Shared>,
    control: Handle,
}

const XML: &str = "text/xml";

impl Office {
    /// Every request has an answer.
    async fn answer<B>(&self, request: Request<B>, ends: Ends) -> Response<Full<Bytes>>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + Send,
    {
        let id = Uuid::new_v4();
        let (status, document) = match self.perform(request, ends).await {
            Ok((action, result)) => (StatusCode::OK, result_document(action, &result, &id)),
            Err(refusal) => {
                tracing::debug!(peer = %ends.peer, %id, code = refusal.code.name(), "{}", refusal.message);
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
        ends: Ends,
    ) -> Result<(&'static str, Xml), Refusal>
    where
        B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin + Send,
    {
        // What costs nothing is checked first, and the body read last.
        let (head, body) = request.into_parts();
        let in_query = match (&head.method, head.uri.query()) {
            (&Method::POST, None | Some("")) => false,
            (&Method::POST, Some(_)) => {
                return Err(Refusal::new(
                    Code::MalformedQueryString,
                    "a POST has its parameters in the body, and none after a ?",
                ));
            }
            (&Method::GET, _) => true,
            _ => {
                return Err(Refusal::new(
                    Code::InvalidAction,
                    "requests are POST with a form, or GET with a query",
                ));
            }
        };
        let claim = self.claim(&head, ends)?;
        let seat = head.extensions.get::<Seat>().ok_or_else(not_served)?;
        let body = body::whole(body, BODY_LIMIT, seat).await?;
        let peer = ends.peer;
        let (by, may_change) = match claim {
            None if in_query => (format!("elb {peer}"), MayChange::NotByGet),
            None => {
                let operators = self.operators.clone();
                (format!("elb {peer}"), MayChange::If(operators, ends))
            }
            Some((claim, party)) => {
                let key = self.signer(&claim, party, &head, &body)?;
                (format!("elb {peer} key {key}"), MayChange::Yes)
            }
        };
        let form = if in_query {
            head.uri.query().unwrap_or("").as_bytes()
        } else {
            &*body
        };
        let desk = Desk::new(self.control.by(&by), Arc::clone(&self.shared), may_change);
        actions::perform_form(form, &desk).await
    }

    /// Who the head says is asking, and where that comes from, if it is needed; or that
    /// they may not.
    fn claim<'h>(
        &'h self,
        head: &'h Parts,
        ends: Ends,
    ) -> Result<Option<(Claim<'h>, Party)>, Refusal> {
        let is_ours = asked_host(head).is_some_and(|host| self.names.include(host, ends.local));
        if self.keys.is_empty() {
            // A signature by whatever key is neither needed nor looked at.
            browser::refuse(&head.headers, is_ours)?;
            return Ok(None);
        }
        let claim = Claim::read(&head.headers, &self.keys)?;
        if !is_ours {
            return Err(Refusal::new(
                Code::SignatureDoesNotMatch,
                format!(
                    "the request is signed for '{}', which is not a name of this endpoint: \
                     name it in `names` of [elb_api] if it is",
                    shortened(asked_host(head).unwrap_or(""))
                ),
            ));
        }
        let party = ends.party();
        if !self.tries.has_one(party, Instant::now()) {
            return Err(guessed_too_often(party));
        }
        Ok(Some((claim, party)))
    }

    /// The key that signed the request. What is signed rightly costs no try.
    fn signer<'h>(
        &self,
        claim: &Claim<'h>,
        party: Party,
        head: &Parts,
        body: &[u8],
    ) -> Result<&'h str, Refusal> {
        if !self.tries.one_more(party, Instant::now()) {
            return Err(guessed_too_often(party));
        }
        let verified = claim.verify(head, body, SystemTime::now());
        let is_wrong = |refusal: &Refusal| matches!(refusal.code, Code::SignatureDoesNotMatch);
        if verified.as_ref().is_err_and(is_wrong) {
            self.wrong.say(move |others| {
                tracing::warn!(target: "audit", by = %format_args!("elb {party}"), "a signature was wrong{others}");
            });
        } else {
            self.tries.one_back(party);
        }
        verified
    }
}

fn guessed_too_often(party: Party) -> Refusal {
    Refusal::new(
        Code::ServiceUnavailable,
        format!("{party} has sent too many wrong signatures; one request a second is looked at"),
    )
}

/// The one host that the request names.
fn asked_host(head: &Parts) -> Option<&str> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return None;
    };
    let host = host.to_str().ok()?;
    // A proxy's form of request has it twice, and then they must agree.
    let target = head.uri.authority();
    target
        .is_none_or(|target| target.as_str().eq_ignore_ascii_case(host))
        .then_some(host)
}

/// Only an office without a door gets here.
fn not_served() -> Refusal {
    Refusal::internal("it is not known who asks")
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
