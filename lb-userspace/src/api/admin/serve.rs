//! Connections: how many, how slow they may be, and how they end.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    sync::{Semaphore, broadcast, watch},
    task::JoinSet,
};

use super::{
    deadline::WriteDeadline, events::Recent, peer::Peer, refusal::Refusal, routes::router,
    socket::Socket,
};
use crate::control::{Event, Handle};

/// More than any fleet of operators and scripts has open on one host.
const CONNECTIONS: usize = 64;

/// How long someone who is turned away has to take the answer.
const DOORSTEP_TIMEOUT: Duration = Duration::from_secs(1);

/// From the last answer, or the connect, to the end of the next head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer may wait for its reader.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// The room for a request's head; ours are a tenth of it.
const HEAD_LIMIT: usize = 16 << 10;

/// What is under way when the agent stops gets this long.
const GRACE: Duration = Duration::from_secs(5);

/// The admin API of one control task. Keeps events from the moment it is made.
#[derive(Debug)]
pub struct Admin {
    handle: Handle,
    happening: broadcast::Receiver<Arc<Event>>,
}

impl Admin {
    #[must_use]
    pub fn new(handle: Handle) -> Self {
        let happening = handle.subscribe();
        Self { handle, happening }
    }

    /// Answers on `socket` until `stop` is done; then lets what is under way
    /// end.
    pub async fn serve(self, socket: Socket, stop: impl Future<Output = ()>) {
        let events = Recent::default();
        let mut keeper = JoinSet::new();
        keeper.spawn(events.clone().keep(self.happening));
        let router = router(self.handle, events.clone());
        accept(socket, router, events, stop).await;
    }
}

async fn accept(socket: Socket, router: Router, events: Recent, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let doorstep = Arc::new(Semaphore::new(CONNECTIONS));
    let (stopping, _) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => continue,
            accepted = socket.listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection to the admin socket");
                // Out of file descriptors, most likely; trying again at once
                // would only burn the processor.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        match Arc::clone(&places).try_acquire_owned() {
            Ok(place) => {
                let router = router.clone();
                let stopping = stopping.subscribe();
                connections.spawn(async move {
                    if let Err(error) = answer(stream, router, stopping).await {
                        tracing::debug!(%error, "an admin connection ended early");
                    }
                    drop(place);
                });
            }
            // Beyond the second limit there is not even an answer.
            Err(_) => {
                if let Ok(place) = Arc::clone(&doorstep).try_acquire_owned() {
                    tracing::warn!("turning an admin connection away: {CONNECTIONS} are open");
                    connections.spawn(async move {
                        // Whether they heard it is their affair.
                        drop(tokio::time::timeout(DOORSTEP_TIMEOUT, turn_away(stream)).await);
                        drop(place);
                    });
                }
            }
        }
    }
    // No new connections; and the file is gone before the answers are.
    drop(socket);
    stopping.send_replace(());
    events.close();
    let ended = tokio::time::timeout(GRACE, async {
        while connections.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!("cutting admin connections that did not end in time");
    }
}

/// Answers the requests of one connection.
async fn answer(
    stream: UnixStream,
    router: Router,
    mut stopping: watch::Receiver<()>,
) -> Result<(), Broken> {
    let peer = Peer::of(&stream)?;
    let service = TowerToHyperService::new(router.layer(Extension(peer)));
    let io = TokioIo::new(WriteDeadline::new(stream, WRITE_TIMEOUT));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return Ok(ended?),
        // An error means that the server is gone: the same.
        _ = stopping.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    Ok(connection.await?)
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("cannot tell who connects: {0}")]
    Peer(#[from] io::Error),
    #[error(transparent)]
    Http(#[from] hyper::Error),
}

/// Says that there is no place.
async fn turn_away(mut stream: UnixStream) -> io::Result<()> {
    let refusal = Refusal::new(
        hyper::StatusCode::SERVICE_UNAVAILABLE,
        "too_many_connections",
        format!("{CONNECTIONS} connections are open already"),
    )
    .hint("try again in a moment".to_owned());
    let body = serde_json::to_string(&refusal.into_body())?;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await?;
    // Closing on an unread request would take the answer back.
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}
