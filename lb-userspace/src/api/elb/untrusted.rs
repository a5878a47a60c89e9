//! What is done with a stranger's bytes before anything is known of them, each
//! step by itself: where fuzzing takes hold. The door calls the same functions.

use std::time::SystemTime;

use hyper::http::request::Parts;

use super::{form::Params, sigv4::Claim};
use crate::config::AccessKeys;

/// The parameters of a form by their whole names, if it is one.
#[must_use]
pub fn form(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    Params::parse(bytes).ok().map(Params::flat)
}

/// The access key that signed the request, if it is signed as it should be.
#[must_use]
pub fn signer(head: &Parts, body: &[u8], keys: &AccessKeys, now: SystemTime) -> Option<String> {
    let claim = Claim::read(&head.headers, keys).ok()?;
    claim.verify(head, body, now).ok().map(str::to_owned)
}
