//! The console on its TCP address.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Extension, Router, routing::get};
use hyper_util::service::TowerToHyperService;
use tokio::{net::TcpStream, task::JoinSet};

use super::{
    guard::{self, Guard},
    live::{self, Live},
    page,
    sessions::Sessions,
};
use crate::{
    api::{
        admin,
        connections::{self, Door},
        ends::Ends,
        host::Names,
        listening::Listening,
        operators::Operators,
        party::Party,
        seats::{Limits, NoPlace},
    },
    config::{AccessKeys, AccessKeysError, Entrance},
    control::Handle,
};

/// Why the console does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the console cannot listen on {address}: {source}; give it another `listen` in [console]"
    )]
    Listen {
        address: SocketAddr,
        source: io::Error,
    },
    #[error(transparent)]
    AccessKeys(#[from] AccessKeysError),
}

/// The address, listened on, with who may come in.
#[derive(Debug)]
pub struct Endpoint {
    listening: Listening,
    keys: AccessKeys,
    names: Names,
    operators: Operators,
}

impl Endpoint {
    /// Reads the access keys and listens. Without keys, `operators` may change
    /// something. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the keys cannot be read, or the address is taken.
    pub fn bind(entrance: &Entrance, operators: Operators) -> Result<Self, StartError> {
        let keys = entrance.all_access_keys()?;
        let address = entrance.listen;
        let listening =
            Listening::bind(address).map_err(|source| StartError::Listen { address, source })?;
        Ok(Self {
            listening,
            keys,
            names: Names::new(entrance.names.clone()),
            operators,
        })
    }

    /// Where it listens; the port is known even if any was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listening.address()
    }
}

/// The listener as the console's door.
struct Front(Listening);

impl Door for Front {
    type Stream = TcpStream;

    const NAME: &'static str = "console";

    /// A browser has up to six open; one of them is listened to all the time.
    const LIMITS: Limits = Limits {
        connections: 128,
        kept: 0,
    };

    const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

    async fn accept(&self) -> io::Result<TcpStream> {
        self.0.accept().await
    }

    fn party(stream: &TcpStream) -> io::Result<Party> {
        Ok(Party::at(stream.peer_addr()?.ip()))
    }

    fn full(why: NoPlace) -> (&'static str, String) {
        ("text/plain", format!("{why}; try again in a moment\n"))
    }
}

/// Answers at `endpoint`, for the control task behind `control`, until `stop`
/// is done; then lets what is under way end.
pub async fn serve(endpoint: Endpoint, control: Handle, stop: impl Future<Output = ()>) {
    let live = Live::default();
    let mut keeper = JoinSet::new();
    keeper.spawn(live.clone().keep(control.clone()));
    let Endpoint {
        listening,
        keys,
        names,
        operators,
    } = endpoint;
    let guard = Guard::new(Sessions::new(keys), names, operators);
    let router = router(control, live.clone(), guard);
    let service = |stream: &TcpStream| {
        let ends = Ends::of(stream)?;
        let router = router.clone().layer(Extension(ends));
        Ok(TowerToHyperService::new(router))
    };
    let stop = async {
        stop.await;
        // Who watches would watch on.
        live.close();
    };
    connections::serve(Front(listening), service, stop).await;
}

fn router(control: Handle, live: Live, guard: Guard) -> Router {
    let watching = Router::new()
        .route("/console/live", get(live::get))
        .layer(Extension(live));
    let inside = admin::for_console(control).merge(watching);
    page::with_headers(guard::around(inside, Arc::new(guard)).merge(page::router()))
}
