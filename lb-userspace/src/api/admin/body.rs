//! What was sent: bounded in size and in time, JSON or nothing.

use axum::{
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, request::Parts},
};
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use super::refusal::Refusal;
use crate::{
    api::{body, seats::Seat},
    config::LONGEST_DOCUMENT,
};

/// What any command fits into.
pub(super) const COMMAND: usize = body::SMALL;
/// What a configuration file fits into, also where JSON has to escape it.
pub(super) const DOCUMENT: usize = LONGEST_DOCUMENT / 8 * 9;

/// A JSON body of at most `LIMIT` bytes, whatever its content type says.
#[derive(Debug)]
pub(in crate::api) struct Sent<T, const LIMIT: usize = COMMAND>(pub(in crate::api) T);

impl<T, S, const LIMIT: usize> FromRequest<S> for Sent<T, LIMIT>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let seat = head.extensions.get::<Seat>().ok_or_else(not_served)?;
        let bytes = body::whole(body, LIMIT, seat).await?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|e| not_understood(&e, bytes.is_empty()))
    }
}

/// Only a router that nobody serves gets here.
fn not_served() -> Refusal {
    Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "no_peer",
        "it is not known who asks",
    )
}

/// JSON that is none is 400; JSON that means nothing here is 422.
fn not_understood(e: &serde_json::Error, empty: bool) -> Refusal {
    if empty {
        return Refusal::new(
            StatusCode::BAD_REQUEST,
            "no_body",
            "there is no body, and this needs one in JSON",
        );
    }
    match e.classify() {
        Category::Data => Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "bad_body",
            format!("the body is not what this takes: {e}"),
        ),
        Category::Syntax | Category::Eof | Category::Io => Refusal::new(
            StatusCode::BAD_REQUEST,
            "not_json",
            format!("the body is not JSON: {e}"),
        ),
    }
}

/// The names in a path.
#[derive(Debug)]
pub(super) struct Named<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Named<T>
where
    T: DeserializeOwned + Send,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(e) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "bad_path",
                e.body_text(),
            )),
        }
    }
}

/// What follows the `?`.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

impl<T, S> FromRequestParts<S> for Asked<T>
where
    T: DeserializeOwned,
    S: Send + Sync,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::from_request_parts(parts, state).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(e) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "bad_query",
                e.body_text(),
            )),
        }
    }
}
