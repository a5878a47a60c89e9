//! Why a document on disk is not one.

use crate::{
    clock::NotATime,
    model::{BadCheck, Invalid, NotAListener},
};

/// Why a document is not one.
#[derive(Debug, thiserror::Error)]
pub enum BadDocument {
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error(transparent)]
    Check(#[from] BadCheck),
    #[error(transparent)]
    Listener(#[from] NotAListener),
    #[error(transparent)]
    Time(#[from] NotATime),
    #[error("it names other backends than the document beside it")]
    OtherBackends,
    #[error("the kernel's index {index} is another's already, or nobody's")]
    Index { index: u16 },
    #[error(
        "it has a backend without an index of the kernel's that is not gone, or one that is and has one"
    )]
    Indices,
    #[error("the document beside it is missing")]
    Alone,
}
