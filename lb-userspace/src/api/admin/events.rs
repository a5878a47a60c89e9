//! The latest events, and the wait for the next ones.
//!
//! `GET /v1/events` answers with what is kept; with `follow=true` it goes on
//! as server-sent events until the reader or the agent leaves. A reader that
//! comes back names the last number it saw (`after`, or `Last-Event-ID`) and
//! gets what it missed.

use std::{
    collections::VecDeque,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    Extension, Json,
    http::HeaderMap,
    response::{
        IntoResponse as _, Response,
        sse::{self, KeepAlive, Sse},
    },
};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::{broadcast, watch};

use super::{body::Asked, refusal::Refusal};
use crate::{
    api::seats::Seat,
    wire::{Event, Events},
};

/// Some hours of a quiet host, some minutes of a busy one.
const KEPT: usize = 4096;

/// The latest events. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Recent {
    kept: Arc<Mutex<VecDeque<Arc<Event>>>>,
    door: watch::Sender<Door>,
}

/// Whether more can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            kept: Arc::default(),
            door: watch::Sender::new(Door::Open),
        }
    }
}

impl Recent {
    /// Keeps what happens, until nothing can happen any more.
    pub(super) async fn keep(self, mut happening: broadcast::Receiver<Arc<Event>>) {
        loop {
            match happening.recv().await {
                Ok(event) => self.add(event),
                // The gap in the numbers tells the readers.
                Err(broadcast::error::RecvError::Lagged(_)) => {}
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    fn add(&self, event: Arc<Event>) {
        let mut kept = self.lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(event);
        drop(kept);
        // Wakes the followers; what is closed stays closed.
        self.door.send_modify(|_| {});
    }

    /// Lets every follower go.
    pub(super) fn close(&self) {
        self.door.send_replace(Door::Closed);
    }

    /// What is kept of the events after number `after`.
    fn after(&self, after: u64) -> VecDeque<Arc<Event>> {
        let kept = self.lock();
        // The latest are the ones that are asked for.
        let known = kept
            .iter()
            .rev()
            .take_while(|event| event.number > after)
            .count();
        kept.iter().skip(kept.len() - known).cloned().collect()
    }

    fn last(&self) -> u64 {
        self.lock().back().map_or(0, |event| event.number)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<Event>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn follow(self, after: Option<u64>) -> Follower {
        let door = self.door.subscribe();
        let last = self.last();
        // Another agent's number is larger than any of ours.
        let seen = after.map_or(last, |after| if after > last { 0 } else { after });
        Follower {
            recent: self,
            door,
            queue: VecDeque::new(),
            seen,
        }
    }
}

/// Where a reader is.
struct Follower {
    recent: Recent,
    door: watch::Receiver<Door>,
    queue: VecDeque<Arc<Event>>,
    /// The last number that is, or was, in the queue.
    seen: u64,
}

impl Follower {
    /// The next event; none when the agent stops.
    async fn next(&mut self) -> Option<Arc<Event>> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            // First the state, then the events: what is added in between wakes
            // us again.
            let door = *self.door.borrow_and_update();
            self.queue = self.recent.after(self.seen);
            match (self.queue.back(), door) {
                (Some(last), _) => self.seen = last.number,
                (None, Door::Closed) => return None,
                (None, Door::Open) => self.door.changed().await.ok()?,
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(default)]
    follow: bool,
    after: Option<u64>,
}

pub(super) async fn get(
    Extension(recent): Extension<Recent>,
    Extension(seat): Extension<Seat>,
    headers: HeaderMap,
    Asked(which): Asked<Which>,
) -> Result<Response, Refusal> {
    if !which.follow {
        let events = recent.after(which.after.unwrap_or(0));
        let events = events.iter().map(|event| (**event).clone()).collect();
        return Ok(Json(Events { events }).into_response());
    }
    seat.streams()?;
    let last_seen = headers
        .get("last-event-id")
        .and_then(|id| id.to_str().ok()?.parse().ok());
    let follower = recent.follow(last_seen.or(which.after));
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(told(&event)), follower))
    });
    Ok(Sse::new(events)
        .keep_alive(KeepAlive::default())
        .into_response())
}

fn told(event: &Event) -> sse::Event {
    sse::Event::default()
        .id(event.number.to_string())
        .json_data(event)
        // Strings and numbers only: it cannot fail.
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::What;

    fn event(number: u64) -> Arc<Event> {
        Arc::new(Event {
            number,
            time: String::new(),
            by: "agent".to_owned(),
            load_balancer: "web".to_owned(),
            backend: None,
            what: What::LoadBalancerCreated,
        })
    }

    #[tokio::test]
    async fn a_follower_hears_what_it_missed_and_then_what_comes() {
        let recent = Recent::default();
        (1..=3).for_each(|n| recent.add(event(n)));
        let mut from_now = recent.clone().follow(None);
        let mut from_one = recent.clone().follow(Some(1));
        let mut from_another_agent = recent.clone().follow(Some(99));
        recent.add(event(4));
        recent.add(event(5));
        recent.close();
        for (follower, heard) in [
            (&mut from_now, &[4, 5][..]),
            (&mut from_one, &[2, 3, 4, 5]),
            (&mut from_another_agent, &[1, 2, 3, 4, 5]),
        ] {
            let mut numbers = Vec::new();
            while let Some(event) = follower.next().await {
                numbers.push(event.number);
            }
            assert_eq!(numbers, heard);
        }
    }

    #[tokio::test]
    async fn the_oldest_are_forgotten() {
        let recent = Recent::default();
        (1..=KEPT as u64 + 10).for_each(|n| recent.add(event(n)));
        let kept = recent.after(0);
        assert_eq!(kept.len(), KEPT);
        assert_eq!(kept[0].number, 11);
    }
}
