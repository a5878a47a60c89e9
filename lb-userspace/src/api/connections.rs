//! Connections of a door: who gets a place, how slow they may be, and how they
//! end.

use std::{error::Error as StdError, io, pin::pin, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header::{CONNECTION, HeaderValue, TRANSFER_ENCODING},
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    attended::Attended,
    deadline::WriteDeadline,
    party::Party,
    seats::{Limits, NoPlace, Seat, Seats},
};
use crate::seldom::Seldom;

/// From the connect to the end of the first head. Whoever connects has a
/// question.
const FIRST_HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long someone who is turned away has to ask, and to take the answer.
const DOORSTEP_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may wait for its reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The room for a request's head; ours are a tenth of it.
const HEAD_LIMIT: usize = 16 << 10;

/// What is under way when the agent stops gets this long.
const GRACE: Duration = Duration::from_secs(5);

/// Where connections come from, and what the door allows them.
pub(super) trait Door: Send + Sync {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// In messages: "an … connection".
    const NAME: &'static str;

    const LIMITS: Limits;

    /// From the end of an answer to the end of the next head.
    const HEAD_TIMEOUT: Duration;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// Who is at the other end.
    fn party(stream: &Self::Stream) -> io::Result<Party>;

    /// The body, and its content type, for one connection too many.
    fn full(why: NoPlace) -> (&'static str, String);
}

/// Answers at `door`, each connection by what `service` makes for it, until
/// `stop` is done; then lets what is under way end. Every request has the
/// connection's [`Seat`] among its extensions.
pub(super) async fn serve<D, S, B>(
    door: D,
    service: impl Fn(&D::Stream) -> io::Result<S>,
    stop: impl Future<Output = ()>,
) where
    D: Door,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Unpin + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let seats = Seats::new(D::LIMITS);
    let doorstep = Arc::new(Semaphore::new(D::LIMITS.connections));
    let (not_accepted, turned_away) = (Seldom::default(), Seldom::default());
    let (stopping, _) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = door.accept() => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                not_accepted.say(move |others| {
                    tracing::warn!(%error, "cannot accept an {} connection{others}", D::NAME);
                });
                // Out of file descriptors, most likely; trying again at once
                // would only burn the processor.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (party, service) = match (D::party(&stream), service(&stream)) {
            (Ok(party), Ok(service)) => (party, service),
            // It has gone again already.
            (Err(error), _) | (_, Err(error)) => {
                tracing::debug!(%error, "cannot tell who connects");
                continue;
            }
        };
        match seats.take(party) {
            Ok(seat) => {
                let stopping = stopping.subscribe();
                connections.spawn(async move {
                    if let Err(error) = answer::<D, S, B>(stream, service, seat, stopping).await {
                        tracing::debug!(%error, "an {} connection ended early", D::NAME);
                    }
                });
            }
            Err(why) => {
                turned_away.say(move |others| {
                    tracing::warn!(%party, "turning an {} connection away: {why}{others}", D::NAME);
                });
                // Beyond the second limit there is not even an answer.
                if let Ok(place) = Arc::clone(&doorstep).try_acquire_owned() {
                    connections.spawn(async move {
                        // Whether they heard it is their affair.
                        let told = turn_away::<D>(stream, why);
                        drop(tokio::time::timeout(DOORSTEP_TIMEOUT, told).await);
                        drop(place);
                    });
                }
            }
        }
    }
    // No new connections; and a socket's file is gone before the answers are.
    drop(door);
    stopping.send_replace(());
    let ended = tokio::time::timeout(GRACE, async {
        while connections.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!("cutting {} connections that did not end in time", D::NAME);
    }
}

/// Answers the requests of one connection.
async fn answer<D, S, B>(
    stream: D::Stream,
    service: S,
    seat: Seat,
    mut stopping: watch::Receiver<()>,
) -> Result<(), hyper::Error>
where
    D: Door,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let io = TokioIo::new(WriteDeadline::new(stream, WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(D::HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(io, seated(service, &seat));
    let mut connection = pin!(connection);
    let mut first_head = pin!(tokio::time::sleep(FIRST_HEAD_TIMEOUT));
    let mut first_head_is_due = true;
    loop {
        tokio::select! {
            biased;
            // Nothing is under way there, so there is nothing to say.
            () = seat.is_needed() => return Ok(()),
            ended = &mut connection => return ended,
            () = &mut first_head, if first_head_is_due => {
                if !seat.has_asked() {
                    return Ok(());
                }
                first_head_is_due = false;
            }
            // An error means that the server is gone: the same.
            _ = stopping.changed() => break,
        }
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// The service, at its seat: who waits for whom is known there.
fn seated<S, B>(
    service: S,
    seat: &Seat,
) -> impl Service<Request<Incoming>, Response = Response<Attended<B>>, Error = S::Error, Future: Send>
where
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Unpin,
{
    let seat = seat.clone();
    service_fn(move |mut request: Request<Incoming>| {
        seat.asks();
        if request.body().is_end_stream() {
            seat.works();
        }
        request.extensions_mut().insert(seat.clone());
        // The server drops a Content-Length beside it, and nobody may send both:
        // what follows on such a connection may be somebody else's (RFC 9112,
        // 6.1). Clients of ours say how much they send.
        let ends = request.headers().contains_key(TRANSFER_ENCODING);
        let answer = service.call(request);
        let seat = seat.clone();
        async move {
            let mut response = answer.await?.map(|body| Attended::new(body, seat));
            if ends {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok(response)
        }
    })
}

/// Says that there is no place.
async fn turn_away<D: Door>(mut stream: D::Stream, why: NoPlace) -> io::Result<()> {
    let (content_type, body) = D::full(why);
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
         content-type: {content_type}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // An answer before the question would be no answer to clients.
    let mut unread = [0; 1024];
    if stream.read(&mut unread).await? == 0 {
        return Ok(());
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing on an unread request would take the answer back.
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}
