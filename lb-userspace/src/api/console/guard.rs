//! Who may ask: whoever reaches the address, or who has logged in; and only
//! the console's own page, never another that a browser happens to show.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    middleware::{self, Next},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::sessions::{LIFE, Pass, Sessions};
use crate::{
    api::{
        admin::{Caller, Refusal, Sent},
        ends::Ends,
        host::Names,
        operators::Operators,
        tries::Tries,
    },
    seldom::Seldom,
};

const COOKIE: &str = "ebb_session";

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

#[derive(Debug)]
pub(super) struct Guard {
    sessions: Sessions,
    names: Names,
    /// Who may change something without a login, where there is none.
    operators: Operators,
    tries: Tries,
    /// Logins that failed, in the log.
    failed: Seldom,
}

impl Guard {
    pub(super) fn new(sessions: Sessions, names: Names, operators: Operators) -> Self {
        Self {
            sessions,
            names,
            operators,
            tries: Tries::default(),
            failed: Seldom::default(),
        }
    }

    /// What the session lets in, where there has to be one.
    async fn pass(&self, head: &Parts, ends: Ends) -> Result<Option<Pass>, Refusal> {
        self.check_page(&head.method, &head.headers, ends.local)?;
        if !self.sessions.needed() {
            if !head.method.is_safe() {
                self.operators.admit(ends).await?;
            }
            return Ok(None);
        }
        let pass = token(&head.headers).and_then(|token| self.sessions.of(token, Instant::now()));
        pass.map(Some)
            .ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "not_logged_in", "log in first"))
    }

    /// Refuses what a browser sends on behalf of any page but ours.
    fn check_page(
        &self,
        method: &Method,
        headers: &HeaderMap,
        local: SocketAddr,
    ) -> Result<(), Refusal> {
        let host = text(headers, &header::HOST).unwrap_or("");
        if !self.sessions.needed() && !self.names.include(host, local) {
            return Err(forbidden(
                "without access keys the console is asked by its address, as localhost, \
                 or by one of its `names`",
            )
            .hint("give it `names`, or access_keys, in [console]".to_owned()));
        }
        let site = text(headers, &SEC_FETCH_SITE);
        if site.is_some_and(|site| !["same-origin", "none"].contains(&site)) {
            return Err(forbidden("this was asked by another page"));
        }
        let origin = headers.get(header::ORIGIN);
        let ours = origin.is_none_or(|origin| is_of(origin, host));
        if !ours {
            return Err(forbidden("this was asked by another page"));
        }
        if method.is_safe() {
            return Ok(());
        }
        // Browsers of any age send one of them with what changes something.
        if origin.is_none() && site != Some("same-origin") {
            return Err(forbidden("it is not known which page asked this")
                .hint("programs: use the admin socket, or the Query API".to_owned()));
        }
        // No form of another page can send this.
        let json = text(headers, &header::CONTENT_TYPE)
            .is_some_and(|content_type| content_type.starts_with("application/json"));
        if !json {
            return Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "what changes something is sent as application/json",
            ));
        }
        Ok(())
    }
}

/// The endpoints of logging in and out, and everything of `inside` behind it.
pub(super) fn around(inside: Router, guard: Arc<Guard>) -> Router {
    let door = Router::new()
        .route("/console/session", get(session))
        .route("/console/login", post(login))
        .route("/console/logout", post(logout))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&guard),
            of_our_page,
        ))
        .with_state(Arc::clone(&guard));
    inside
        .layer(middleware::from_fn_with_state(guard, known))
        .merge(door)
}

async fn known(
    State(guard): State<Arc<Guard>>,
    Extension(ends): Extension<Ends>,
    request: Request,
    next: Next,
) -> Response {
    let (mut head, body) = request.into_parts();
    let peer = ends.peer;
    let caller = match guard.pass(&head, ends).await {
        Ok(None) => Caller::new(&format_args!("console {peer}")),
        Ok(Some(pass)) => {
            let caller = Caller::new(&format_args!("console {peer} key {}", pass.key));
            head.extensions.insert(pass);
            caller
        }
        Err(refusal) => return refusal.into_response(),
    };
    head.extensions.insert(caller);
    next.run(Request::from_parts(head, body)).await
}

async fn of_our_page(
    State(guard): State<Arc<Guard>>,
    Extension(ends): Extension<Ends>,
    request: Request,
    next: Next,
) -> Response {
    match guard.check_page(request.method(), request.headers(), ends.local) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// What the page asks first.
#[derive(Debug, Serialize)]
struct Whoami {
    version: &'static str,
    /// Whether there is a login at all.
    keys: bool,
    logged_in: bool,
}

async fn session(State(guard): State<Arc<Guard>>, headers: HeaderMap) -> Json<Whoami> {
    let keys = guard.sessions.needed();
    let known = || token(&headers).and_then(|token| guard.sessions.of(token, Instant::now()));
    Json(Whoami {
        version: env!("CARGO_PKG_VERSION"),
        keys,
        logged_in: !keys || known().is_some(),
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Login {
    key: String,
    secret: String,
}

async fn login(
    State(guard): State<Arc<Guard>>,
    Extension(ends): Extension<Ends>,
    Sent(Login { key, secret }): Sent<Login>,
) -> Result<Response, Refusal> {
    let (now, peer, party) = (Instant::now(), ends.peer, ends.party());
    if !guard.tries.one_more(party, now) {
        return Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too_many_logins",
            format!("{party} has tried too many logins; one a second is let through"),
        ));
    }
    match guard.sessions.begin(&key, &secret, now) {
        Some(token) => {
            tracing::info!(target: "audit", by = %format_args!("console {peer} key {key}"), "logged in");
            Ok(with_cookie(&token, LIFE))
        }
        None => {
            guard.failed.say(move |others| {
                tracing::warn!(target: "audit", by = %format_args!("console {peer}"), "a login failed{others}");
            });
            Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "wrong_key",
                "no access key has that id and that secret",
            ))
        }
    }
}

async fn logout(State(guard): State<Arc<Guard>>, headers: HeaderMap) -> Response {
    if let Some(token) = token(&headers) {
        guard.sessions.end(token);
    }
    with_cookie("", Duration::ZERO)
}

/// Scripts do not see it, and no other page's request carries it.
fn with_cookie(token: &str, life: Duration) -> Response {
    let cookie = format!(
        "{COOKIE}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict",
        life.as_secs()
    );
    let mut response = StatusCode::NO_CONTENT.into_response();
    // Hexadecimal digits only: it cannot fail.
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

fn token(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE).then_some(value))
}

/// Whether the origin is that of a page at `host`, by TLS (which somebody else
/// ended) or without.
fn is_of(origin: &HeaderValue, host: &str) -> bool {
    let name = origin.to_str().ok().and_then(|origin| {
        origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
    });
    name.is_some_and(|name| !host.is_empty() && name.eq_ignore_ascii_case(host))
}

fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn forbidden(message: &str) -> Refusal {
    Refusal::new(StatusCode::FORBIDDEN, "forbidden", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: (&str, &str) = ("host", "127.0.0.1:8090");
    const ORIGIN: (&str, &str) = ("origin", "http://127.0.0.1:8090");
    const JSON: (&str, &str) = ("content-type", "application/json");

    fn asked(method: &Method, fields: &[(&'static str, &'static str)]) -> bool {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.insert(*name, value.parse().unwrap());
        }
        let operators = Operators::of(std::path::Path::new("/nonexistent"));
        let guard = Guard::new(Sessions::default(), Names::default(), operators);
        let local = "127.0.0.1:8090".parse().unwrap();
        guard.check_page(method, &headers, local).is_ok()
    }

    #[test]
    fn our_page_may_ask() {
        assert!(asked(&Method::GET, &[OURS]));
        assert!(asked(&Method::GET, &[OURS, ("sec-fetch-site", "none")]));
        assert!(asked(&Method::PATCH, &[OURS, ORIGIN, JSON]));
        let fetch = ("sec-fetch-site", "same-origin");
        assert!(asked(&Method::POST, &[OURS, fetch, JSON]));
        let localhost = ("host", "localhost:8090");
        let its_page = ("origin", "http://localhost:8090");
        assert!(asked(&Method::POST, &[localhost, its_page, JSON]));
    }

    #[test]
    fn no_other_page_may() {
        let evil = ("origin", "http://evil.example");
        for method in [Method::GET, Method::POST] {
            for fields in [
                &[OURS, evil, JSON][..],
                &[OURS, ("origin", "null"), JSON],
                &[OURS, ("origin", "http://127.0.0.1:9999"), JSON],
                &[OURS, ("sec-fetch-site", "cross-site"), JSON],
                &[OURS, ORIGIN, ("sec-fetch-site", "same-site"), JSON],
                // DNS that was made to lead here.
                &[
                    ("host", "evil.example:8090"),
                    ("origin", "http://evil.example:8090"),
                    JSON,
                ],
                &[ORIGIN, JSON],
            ] {
                assert!(!asked(&method, fields), "{method} {fields:?}");
            }
        }
        // Nobody knows whose they are, or a form could have sent them.
        assert!(!asked(&Method::POST, &[OURS, JSON]));
        assert!(!asked(&Method::POST, &[OURS, ORIGIN]));
        let form = ("content-type", "text/plain");
        assert!(!asked(&Method::POST, &[OURS, ORIGIN, form]));
    }

    #[test]
    fn the_token_is_found_among_other_cookies() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", "a=b; ebb_session=abc; c=d".parse().unwrap());
        assert_eq!(token(&headers), Some("abc"));
        headers.insert("cookie", "xebb_session=abc".parse().unwrap());
        assert_eq!(token(&headers), None);
    }
}
