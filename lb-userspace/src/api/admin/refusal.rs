//! Every "no" of the admin API: a status, and JSON that says why.

use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};

use crate::{
    api::{body::BodyError, operators::NotAdmitted, seats::NoPlace},
    control::{self, Kind},
    wire::{Error, ErrorBody},
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::api) struct Refusal {
    status: StatusCode,
    body: ErrorBody,
}

impl Refusal {
    pub(in crate::api) fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            body: ErrorBody {
                code: code.to_owned(),
                message: message.into(),
                hint: None,
            },
        }
    }

    pub(in crate::api) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.body.hint = hint.into();
        self
    }

    pub(in crate::api) fn into_body(self) -> Error {
        Error { error: self.body }
    }
}

impl From<control::Error> for Refusal {
    fn from(error: control::Error) -> Self {
        let status = match error.kind() {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Invalid => StatusCode::BAD_REQUEST,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, error.code(), error.message()).hint(error.hint())
    }
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        let (status, code) = match &error {
            BodyError::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            BodyError::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too_slow"),
            BodyError::Broken(_) => (StatusCode::BAD_REQUEST, "broken_body"),
            BodyError::NoPlace(why) => return (*why).into(),
        };
        Self::new(status, code, error.to_string())
    }
}

impl From<NotAdmitted> for Refusal {
    fn from(why: NotAdmitted) -> Self {
        let hint = why.hint().to_owned();
        Self::new(StatusCode::FORBIDDEN, "not_an_operator", why.to_string()).hint(hint)
    }
}

impl From<NoPlace> for Refusal {
    fn from(why: NoPlace) -> Self {
        let (code, hint) = match why {
            NoPlace::Door { .. } | NoPlace::Share { .. } => {
                ("too_many_connections", "try again in a moment")
            }
            NoPlace::LargeRequests => ("too_many_large_requests", "try again in a moment"),
            NoPlace::Streams { .. } | NoPlace::ShareOfStreams { .. } => (
                "too_many_streams",
                "end one that is not needed, or ask for what there is instead of following",
            ),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, why.to_string()).hint(hint.to_owned())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = self.status;
        (status, Json(self.into_body())).into_response()
    }
}
