//! A request's body, whole: bounded in size, in time, and in how many of the
//! large ones there are at a time.

use std::{error::Error as StdError, time::Duration};

use http_body_util::BodyExt as _;
use hyper::body::{Body, Buf as _, Bytes};

use super::seats::{NoPlace, Seat};

/// The whole body must be here by then.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Any command fits into it; who sends more takes one of few places for that.
pub(super) const SMALL: usize = 64 << 10;

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the request is larger than {limit} bytes")]
    TooLarge { limit: usize },
    #[error("the request was not here within {} s", TIMEOUT.as_secs())]
    TooSlow,
    #[error("the request broke off: {0}")]
    Broken(Box<dyn StdError + Send + Sync>),
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
}

/// Reads a body of at most `limit` bytes. What is said to be larger is not
/// read at all.
pub(super) async fn whole<B>(body: B, limit: usize, seat: &Seat) -> Result<Bytes, BodyError>
where
    B: Body<Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin,
{
    let size = body.size_hint();
    if size.lower() > u64::try_from(limit).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge { limit });
    }
    let whole = tokio::time::timeout(TIMEOUT, collect(body, limit, seat)).await;
    let whole = whole.map_err(|_| BodyError::TooSlow)??;
    seat.works();
    Ok(whole.into())
}

async fn collect<B>(mut body: B, limit: usize, seat: &Seat) -> Result<Vec<u8>, BodyError>
where
    B: Body<Error: Into<Box<dyn StdError + Send + Sync>>> + Unpin,
{
    // What its head says, or nothing; no more than the limit, as the caller knows.
    let said = usize::try_from(body.size_hint().lower()).unwrap_or(limit);
    let mut is_small = said <= SMALL;
    if !is_small {
        // Before any of it is read: otherwise every connection could fill the memory with the
        // first part of a large body, and the allocator would keep that.
        seat.sends_much()?;
    }
    let mut whole = Vec::with_capacity(said);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.into()))?;
        // Trailers say nothing to us.
        let Ok(mut data) = frame.into_data() else {
            continue;
        };
        let length = whole.len() + data.remaining();
        if length > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if is_small && length > SMALL {
            is_small = false;
            seat.sends_much()?;
        }
        while data.has_remaining() {
            let chunk = data.chunk();
            whole.extend_from_slice(chunk);
            let taken = chunk.len();
            data.advance(taken);
        }
    }
    Ok(whole)
}
