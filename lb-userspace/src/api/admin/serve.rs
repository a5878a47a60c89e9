//! The admin API on its socket.

use std::{io, sync::Arc, time::Duration};

use axum::Extension;
use hyper_util::service::TowerToHyperService;
use tokio::{net::UnixStream, sync::broadcast, task::JoinSet};

use super::{
    events::Recent,
    peer::Peer,
    refusal::Refusal,
    routes::{Caller, router},
    socket::Socket,
};
use crate::{
    api::{
        connections::{self, Door},
        party::Party,
        seats::{Limits, NoPlace},
    },
    control::Handle,
    wire::Event,
};

impl Door for Socket {
    type Stream = UnixStream;

    const NAME: &'static str = "admin";

    /// More than any fleet of operators and scripts has open on one host.
    const LIMITS: Limits = Limits {
        connections: 64,
        kept: 8,
    };

    const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

    async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    fn party(stream: &UnixStream) -> io::Result<Party> {
        Ok(Party::user(stream.peer_cred()?.uid()))
    }

    fn full(why: NoPlace) -> (&'static str, String) {
        let refusal = Refusal::from(why);
        let body = serde_json::to_string(&refusal.into_body()).unwrap_or_default();
        ("application/json", body)
    }
}

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
        let service = |stream: &UnixStream| {
            let peer = Peer::of(stream)?;
            let router = router.clone().layer(Extension(Caller::new(&peer)));
            Ok(TowerToHyperService::new(router))
        };
        let stop = async {
            stop.await;
            // Who waits for events would wait on.
            events.close();
        };
        connections::serve(socket, service, stop).await;
    }
}
