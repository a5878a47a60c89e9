//! An answer's body that tells when it is out: from then on the connection
//! waits for its other end.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use hyper::body::{Body, Frame, SizeHint};

use super::seats::Seat;

#[derive(Debug)]
pub(super) struct Attended<B> {
    body: B,
    seat: Seat,
}

impl<B> Attended<B> {
    pub(super) fn new(body: B, seat: Seat) -> Self {
        Self { body, seat }
    }
}

impl<B> Drop for Attended<B> {
    fn drop(&mut self) {
        self.seat.waits();
    }
}

impl<B: Body + Unpin> Body for Attended<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
