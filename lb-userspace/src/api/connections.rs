//! Connections of a door: how many, how slow they may be, and how they end.

use std::{error::Error as StdError, io, pin::pin, sync::Arc, time::Duration};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    server::conn::http1,
    service::Service,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::deadline::WriteDeadline;

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

    /// As many connections as may be open at a time.
    const CONNECTIONS: usize;

    /// From the last answer, or the connect, to the end of the next head.
    const HEAD_TIMEOUT: Duration;

    fn accept(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;

    /// The body, and its content type, for one connection too many.
    fn full() -> (&'static str, String);
}

/// Answers at `door`, each connection by what `service` makes for it, until
/// `stop` is done; then lets what is under way end.
pub(super) async fn serve<D, S, B>(
    door: D,
    service: impl Fn(&D::Stream) -> io::Result<S>,
    stop: impl Future<Output = ()>,
) where
    D: Door,
    S: Service<Request<Incoming>, Response = Response<B>> + Send + 'static,
    S::Future: Send,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let places = Arc::new(Semaphore::new(D::CONNECTIONS));
    let doorstep = Arc::new(Semaphore::new(D::CONNECTIONS));
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
                tracing::warn!(%error, "cannot accept an {} connection", D::NAME);
                // Out of file descriptors, most likely; trying again at once
                // would only burn the processor.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let service = match service(&stream) {
                    Ok(service) => service,
                    // It has gone again already.
                    Err(error) => {
                        tracing::debug!(%error, "cannot tell who connects");
                        continue;
                    }
                };
                let stopping = stopping.subscribe();
                connections.spawn(async move {
                    if let Err(error) = answer::<D, S, B>(stream, service, stopping).await {
                        tracing::debug!(%error, "an {} connection ended early", D::NAME);
                    }
                    drop(place);
                });
            }
            // Beyond the second limit there is not even an answer.
            Err(_) => {
                if let Ok(place) = Arc::clone(&doorstep).try_acquire_owned() {
                    tracing::warn!(
                        "turning an {} connection away: {} are open",
                        D::NAME,
                        D::CONNECTIONS
                    );
                    connections.spawn(async move {
                        // Whether they heard it is their affair.
                        drop(tokio::time::timeout(DOORSTEP_TIMEOUT, turn_away::<D>(stream)).await);
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
    mut stopping: watch::Receiver<()>,
) -> Result<(), hyper::Error>
where
    D: Door,
    S: Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<Box<dyn StdError + Send + Sync>>,
    B: Body + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let io = TokioIo::new(WriteDeadline::new(stream, WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(D::HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return ended,
        // An error means that the server is gone: the same.
        _ = stopping.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// Says that there is no place.
async fn turn_away<D: Door>(mut stream: D::Stream) -> io::Result<()> {
    let (content_type, body) = D::full();
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
