//! Who may check next: places for checks under way, shared between load balancers.
//!
//! A check that hangs holds its place for its whole timeout. Were there one queue
//! for all, a rack of hung backends would keep everybody else's checks waiting.
//! So a load balancer may take a place only while it holds fewer than are free.
//! One that takes all it can get ends with half of them, two with a third each,
//! *n* with one in *n + 1* each; and as much as each of them has stays free for
//! the next, who never waits for anybody's timeout. (Switches share their packet
//! buffers between ports by this rule.)
//!
//! [`Shares`] decides, and is pure; [`Places`] lets tasks wait for it.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::oneshot;

use crate::model::LbName;

/// Places, and those who wait for one. Copies are the same places.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Mutex<Shares<oneshot::Sender<Place>>>>);

/// Leave for one check. Ends with this value.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    lb: LbName,
}

impl Places {
    pub(super) fn new(all: NonZeroUsize) -> Self {
        Self(Arc::new(Mutex::new(Shares::new(all))))
    }

    /// Waits until a backend of `lb` may be checked.
    pub(super) async fn take(&self, lb: &LbName) -> Place {
        loop {
            let (give, given) = oneshot::channel();
            let Some(ticket) = self.shares().ask(lb, give) else {
                return self.place(lb);
            };
            let _waiting = Waiting {
                places: self,
                lb,
                ticket,
            };
            if let Ok(place) = given.await {
                return place;
            }
        }
    }

    fn place(&self, lb: &LbName) -> Place {
        Place {
            places: self.clone(),
            lb: lb.clone(),
        }
    }

    fn shares(&self) -> MutexGuard<'_, Shares<oneshot::Sender<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has everybody go who may. Whoever has stopped waiting gives the place
    /// back by dropping it, so this must not hold the lock.
    fn admit(&self) {
        loop {
            let next = self.shares().next();
            let Some((lb, waiter)) = next else { return };
            // A place that nobody takes comes back to `drop`.
            drop(waiter.send(self.place(&lb)));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.shares().give_back(&self.lb);
        self.places.admit();
    }
}

/// A place in the queue. Given up with this value.
struct Waiting<'a> {
    places: &'a Places,
    lb: &'a LbName,
    ticket: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.places.shares().give_up(self.lb, self.ticket);
    }
}

/// How many places each load balancer holds, and who of it waits, the longest
/// first. `W` is whoever waits.
#[derive(Debug)]
struct Shares<W> {
    free: usize,
    of: BTreeMap<LbName, Share<W>>,
    /// The next one that waits.
    ticket: u64,
}

#[derive(Debug)]
struct Share<W> {
    held: usize,
    queue: BTreeMap<u64, W>,
}

impl<W> Default for Share<W> {
    fn default() -> Self {
        Self {
            held: 0,
            queue: BTreeMap::new(),
        }
    }
}

impl<W> Shares<W> {
    fn new(all: NonZeroUsize) -> Self {
        Self {
            free: all.get(),
            of: BTreeMap::new(),
            ticket: 0,
        }
    }

    /// Nothing if the load balancer has a place more now; else the ticket that
    /// `waiter` waits with.
    fn ask(&mut self, lb: &LbName, waiter: W) -> Option<u64> {
        let share = self.of.entry(lb.clone()).or_default();
        // Nobody overtakes: a queue is one of those who may not go.
        if share.queue.is_empty() && share.held < self.free {
            share.held += 1;
            self.free -= 1;
            return None;
        }
        let ticket = self.ticket;
        self.ticket += 1;
        share.queue.insert(ticket, waiter);
        Some(ticket)
    }

    /// The next to have a place, which counts as held from now on: the one that
    /// has waited longest at the load balancer that holds the fewest.
    fn next(&mut self) -> Option<(LbName, W)> {
        let waiting = self.of.iter_mut().filter(|(_, s)| !s.queue.is_empty());
        let (lb, share) = waiting.min_by_key(|(_, share)| share.held)?;
        if share.held >= self.free {
            return None;
        }
        let (_, waiter) = share.queue.pop_first()?;
        share.held += 1;
        self.free -= 1;
        Some((lb.clone(), waiter))
    }

    fn give_back(&mut self, lb: &LbName) {
        if let Some(share) = self.of.get_mut(lb) {
            share.held -= 1;
            self.free += 1;
        }
        self.tidy(lb);
    }

    /// Whoever waits with this ticket, if anybody still does, waits no more.
    fn give_up(&mut self, lb: &LbName, ticket: u64) {
        if let Some(share) = self.of.get_mut(lb) {
            share.queue.remove(&ticket);
        }
        self.tidy(lb);
    }

    fn tidy(&mut self, lb: &LbName) {
        if let Some(share) = self.of.get(lb)
            && share.held == 0
            && share.queue.is_empty()
        {
            self.of.remove(lb);
        }
    }
}

#[cfg(test)]
mod tests;
