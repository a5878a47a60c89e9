//! The neighbours that backends, or clients, are reached by: what is known of each, and whom to
//! ask when. No clock and no kernel of its own: both come in.
//!
//! Backends behind the same router share its entry. An entry is asked at once
//! when it is new, and then again and again: one that has not answered, so that
//! it is noticed when it does; one that has, so that the kernel confirms it.
//! Most news comes without asking, by the kernel's notices. So all askings
//! together are bounded ([`RATE`]), and the more entries there are, the less
//! often each has its turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::{Duration, Instant},
};

use super::kernel::Kernel;
use crate::{model::Mac, netlink::NeighbourIs};

/// A neighbour on an interface: the backend itself, or the router before it.
pub(super) type End = (u32, IpAddr);

/// The soonest that a neighbour without an answer is asked again. The time
/// doubles from one asking to the next, up to its share of [`RATE`].
pub(super) const ASK: Duration = Duration::from_secs(1);

/// The soonest that one with an answer is used, so that the kernel confirms it.
/// The kernel takes an answer as good for 15 to 45 s.
pub(super) const CONFIRM: Duration = Duration::from_secs(10);

/// Askings a second, over all neighbours but the new ones: what keeps the cost
/// low, here and on the wire, when 20,000 do not answer.
pub(super) const RATE: u32 = 200;

/// So much of the second's askings may come at once.
const BURST: Duration = Duration::from_millis(500);

#[derive(Debug)]
struct Neighbour<U> {
    mac: Option<Mac>,
    /// There was no answer since the last one.
    silent: bool,
    /// The kernel did not ask.
    unasked: bool,
    /// Nobody needs to be asked.
    fixed: bool,
    /// When to ask.
    due: Instant,
    /// How long it may go on without an answer until it is asked again.
    patience: Duration,
    users: BTreeSet<U>,
}

/// What is known of an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Is {
    There(Mac),
    Silent,
    /// The kernel refused to ask.
    Unasked,
    /// Neither an answer yet nor the lack of one.
    Unknown,
}

/// The ends by which users, backends or others, are reached.
#[derive(Debug)]
pub(super) struct Ends<U> {
    neighbours: BTreeMap<End, Neighbour<U>>,
    /// Whom to ask next.
    agenda: BTreeSet<(Instant, End)>,
    /// When the next asking is within [`RATE`].
    free: Option<Instant>,
    /// Users of which something may have changed.
    touched: BTreeSet<U>,
}

impl<U> Default for Ends<U> {
    fn default() -> Self {
        Self {
            neighbours: BTreeMap::new(),
            agenda: BTreeSet::new(),
            free: None,
            touched: BTreeSet::new(),
        }
    }
}

impl<U: Copy + Ord> Ends<U> {
    pub(super) fn is(&self, end: &End) -> Is {
        match self.neighbours.get(end) {
            Some(Neighbour { mac: Some(mac), .. }) => Is::There(*mac),
            Some(Neighbour { silent: true, .. }) => Is::Silent,
            Some(Neighbour { unasked: true, .. }) => Is::Unasked,
            _ => Is::Unknown,
        }
    }

    /// The user is reached by that neighbour from now on; true if none was before.
    pub(super) fn join(&mut self, end: End, user: U, now: Instant) -> bool {
        let mut is_new = false;
        let neighbour = self.neighbours.entry(end).or_insert_with(|| {
            is_new = true;
            Neighbour {
                mac: None,
                silent: false,
                unasked: false,
                fixed: false,
                due: now,
                patience: ASK,
                users: BTreeSet::new(),
            }
        });
        neighbour.users.insert(user);
        self.touched.insert(user);
        is_new
    }

    pub(super) fn leave(&mut self, end: &End, user: &U) {
        if let Some(neighbour) = self.neighbours.get_mut(end) {
            neighbour.users.remove(user);
            if neighbour.users.is_empty() {
                self.agenda.remove(&(neighbour.due, *end));
                self.neighbours.remove(end);
            }
        }
    }

    /// Takes in what the kernel says of a neighbour. Who has gone silent just now
    /// is asked again soon.
    pub(super) fn learn(&mut self, end: &End, state: NeighbourIs, now: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(end) else {
            return;
        };
        let before = (neighbour.mac, neighbour.silent);
        let was_fixed = neighbour.fixed;
        match state {
            NeighbourIs::Learnt(mac) => {
                neighbour.mac = Some(mac);
                neighbour.silent = false;
                neighbour.fixed = false;
            }
            NeighbourIs::Fixed(mac) => {
                neighbour.mac = Some(mac);
                neighbour.silent = false;
                neighbour.fixed = true;
            }
            NeighbourIs::Silent => {
                neighbour.mac = None;
                neighbour.silent = true;
                neighbour.fixed = false;
            }
            // What was known stays good until there is an answer or none.
            NeighbourIs::Asked | NeighbourIs::Unknown => neighbour.fixed = false,
        }
        let after = (neighbour.mac, neighbour.silent);
        if before != after {
            self.touched.extend(neighbour.users.iter().copied());
        }
        let had_answered = before.0.is_some();
        let (has_answered, is_fixed) = (after.0.is_some(), neighbour.fixed);
        if has_answered != had_answered {
            neighbour.patience = ASK;
        }
        if has_answered != had_answered || was_fixed != is_fixed {
            let wait = if has_answered { self.confirm() } else { ASK };
            self.schedule(*end, now + wait);
        }
    }

    /// Asks a neighbour of whom nothing is known, now.
    pub(super) fn ask_now(&mut self, end: End, kernel: &mut impl Kernel, now: Instant) {
        if self.is(&end) == Is::Unknown {
            self.ask(end, kernel, now);
        } else {
            let wait = match self.is(&end) {
                Is::There(_) => self.confirm(),
                _ => ASK,
            };
            self.schedule(end, now + wait);
        }
    }

    /// Asks whom it is time to ask, as far as [`RATE`] allows.
    pub(super) fn tick(&mut self, kernel: &mut impl Kernel, now: Instant) {
        let mut free = self.free.unwrap_or(now);
        if let Some(earliest) = now.checked_sub(BURST) {
            free = free.max(earliest);
        }
        while let Some((due, end)) = self.agenda.first().copied()
            && due <= now
            && free <= now
        {
            free += Duration::from_secs(1) / RATE;
            self.ask(end, kernel, now);
        }
        self.free = Some(free);
    }

    /// The users that there may be something to say of, since the last call.
    pub(super) fn touched(&mut self) -> BTreeSet<U> {
        std::mem::take(&mut self.touched)
    }

    /// There may be something to say of this user.
    pub(super) fn touch(&mut self, user: U) {
        self.touched.insert(user);
    }

    fn ask(&mut self, end: End, kernel: &mut impl Kernel, now: Instant) {
        let (confirm, share) = (self.confirm(), self.share());
        let Some(neighbour) = self.neighbours.get_mut(&end) else {
            return;
        };
        let wait = if neighbour.mac.is_some() {
            confirm
        } else {
            let wait = neighbour.patience.min(share.max(ASK));
            neighbour.patience = wait * 2;
            wait
        };
        if !neighbour.fixed {
            // It fails when the interface is going away, of which there is a
            // notice, or when the kernel knows too many neighbours; it is tried
            // again.
            let unasked = kernel.solicit(end.0, end.1).is_err();
            if neighbour.unasked != unasked {
                neighbour.unasked = unasked;
                self.touched.extend(neighbour.users.iter().copied());
            }
        }
        self.schedule(end, now + wait);
    }

    fn schedule(&mut self, end: End, due: Instant) {
        let Some(neighbour) = self.neighbours.get_mut(&end) else {
            return;
        };
        self.agenda.remove(&(neighbour.due, end));
        neighbour.due = due;
        if !neighbour.fixed {
            self.agenda.insert((due, end));
        }
    }

    fn confirm(&self) -> Duration {
        self.share().max(CONFIRM)
    }

    /// How long it takes until everybody has been asked once.
    fn share(&self) -> Duration {
        let everybody = u32::try_from(self.neighbours.len()).unwrap_or(u32::MAX);
        Duration::from_secs(1) / RATE * everybody
    }
}
