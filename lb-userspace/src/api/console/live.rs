//! How things are, every second and when something happens, as server-sent
//! events. One look at the control task serves all who watch.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Extension,
    extract::Query,
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::{StreamExt as _, stream};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, broadcast, watch},
    time::{Instant, sleep_until},
};

use super::{history::History, sessions::Pass};
use crate::{
    api::{admin::Refusal, seats::Seat},
    control::Handle,
    wire::{Listener, LoadBalancer, State},
};

/// From one look to the next while somebody watches,
const WATCHED: Duration = Duration::from_secs(1);
/// and while nobody does, for the chart of whoever comes.
const UNWATCHED: Duration = Duration::from_secs(5);
/// What happens is shown soon; what happens together, together.
const SETTLE: Duration = Duration::from_millis(100);

/// Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Live {
    now: watch::Sender<Now>,
    /// Somebody began to watch.
    came: Arc<Notify>,
    history: Arc<Mutex<History>>,
}

#[derive(Debug, Clone)]
enum Now {
    /// Nobody has looked yet.
    Unknown,
    Seen(Arc<Look>),
    /// The agent stops.
    Over,
}

#[derive(Debug)]
struct Look {
    /// Milliseconds since 1970.
    time: u64,
    all: Vec<LoadBalancer>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            now: watch::Sender::new(Now::Unknown),
            came: Arc::default(),
            history: Arc::default(),
        }
    }
}

impl Live {
    /// Looks, again and again, until the control task is gone.
    pub(super) async fn keep(self, control: Handle) {
        let mut happening = control.subscribe();
        loop {
            let begun = Instant::now();
            if let Ok(all) = control.load_balancers().await {
                let time = milliseconds(SystemTime::now());
                self.history().add(time, &all);
                let look = Now::Seen(Arc::new(Look { time, all }));
                self.now.send_if_modified(|now| match now {
                    Now::Over => false,
                    _ => {
                        *now = look;
                        true
                    }
                });
            }
            let watched = self.now.receiver_count() > 0;
            let pause = if watched { WATCHED } else { UNWATCHED };
            tokio::select! {
                () = sleep_until(begun + pause) => {}
                () = self.came.notified(), if !watched => {}
                happened = happening.recv(), if watched => {
                    if let Err(broadcast::error::RecvError::Closed) = happened {
                        return;
                    }
                    tokio::time::sleep(SETTLE).await;
                    happening = happening.resubscribe();
                }
            }
        }
    }

    /// Lets everybody go who watches.
    pub(super) fn close(&self) {
        self.now.send_replace(Now::Over);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// What is shown of every load balancer.
#[derive(Debug, Serialize)]
struct Summary<'l> {
    name: &'l str,
    listeners: &'l [Listener],
    deleting: bool,
    in_service: usize,
    draining: usize,
    out_of_service: usize,
    flows: u64,
}

impl<'l> Summary<'l> {
    fn of(lb: &'l LoadBalancer) -> Self {
        let draining = |registration: &str| registration != "registered";
        let count = |wanted: &dyn Fn(&crate::wire::Backend) -> bool| {
            lb.backends.iter().filter(|backend| wanted(backend)).count()
        };
        Self {
            name: &lb.name,
            listeners: &lb.listeners,
            deleting: lb.deleting,
            in_service: count(&|b| !draining(&b.registration) && b.state == State::InService),
            draining: count(&|b| draining(&b.registration)),
            out_of_service: count(&|b| !draining(&b.registration) && b.state != State::InService),
            flows: lb.backends.iter().map(|backend| backend.flows).sum(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Told<'l> {
    time: u64,
    all: Vec<Summary<'l>>,
    /// The one that was asked for, if there is one of that name.
    one: Option<&'l LoadBalancer>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    lb: Option<String>,
}

/// `GET /console/live?lb=NAME`: first, as `history`, what the chart begins
/// with; then, as `now`, how things are, for as long as it is listened to and
/// the session lasts.
pub(super) async fn get(
    Extension(live): Extension<Live>,
    Extension(seat): Extension<Seat>,
    pass: Option<Extension<Pass>>,
    Query(Which { lb }): Query<Which>,
) -> Result<Response, Refusal> {
    seat.streams()?;
    let lb = lb.unwrap_or_default();
    let history = sse::Event::default()
        .event("history")
        .json_data(live.history().of(&lb))
        .unwrap_or_default();
    let mut now = live.now.subscribe();
    // The first look is there already, mostly; and a new one follows.
    now.mark_changed();
    live.came.notify_one();
    let following = stream::unfold((now, lb), async |(mut now, lb)| {
        loop {
            now.changed().await.ok()?;
            let look = match &*now.borrow_and_update() {
                Now::Unknown => continue,
                Now::Seen(look) => Arc::clone(look),
                Now::Over => return None,
            };
            return Some((Ok::<_, Infallible>(told(&look, &lb)), (now, lb)));
        }
    });
    let over = async {
        match pass {
            Some(Extension(pass)) => pass.ended().await,
            None => pending().await,
        }
    };
    let events = stream::iter([Ok(history)])
        .chain(following)
        .take_until(over);
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

fn told(look: &Look, lb: &str) -> sse::Event {
    let told = Told {
        time: look.time,
        all: look.all.iter().map(Summary::of).collect(),
        one: look.all.iter().find(|one| one.name == lb),
    };
    sse::Event::default()
        .event("now")
        .json_data(told)
        // Strings and numbers only: it cannot fail.
        .unwrap_or_default()
}
