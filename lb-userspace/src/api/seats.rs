//! The places of a door: who sits there, what each does, and who makes room
//! for whom.
//!
//! - A party has no more than its share of them.
//! - When there is no place, the connection makes room that has been waited for
//!   the longest: for its next request, or for the rest of one.
//! - Streams, which end when their reader likes, have no more than half of the
//!   places, so that there is always one for a request.
//! - A large request takes one of few places for that, and makes room in the
//!   same way.
//! - The last places are kept for operators, where a door knows who they are.

use std::{
    cmp::Reverse,
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{sync::Notify, time::Instant};

use super::party::Party;

/// How many connections a door takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    /// As many as may be open at a time.
    pub(super) connections: usize,
    /// As many of them as are for operators alone.
    pub(super) kept: usize,
}

/// As many connections may be sending more than any command is.
const LARGE_REQUESTS: usize = 8;

impl Limits {
    fn share(self, party: Party) -> usize {
        if party.is_operator() {
            self.connections
        } else {
            self.connections / 2
        }
    }

    fn streams(self) -> usize {
        self.connections / 2
    }

    fn share_of_streams(self, party: Party) -> usize {
        if party.is_operator() {
            self.streams()
        } else {
            self.streams() / 2
        }
    }
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoPlace {
    #[error("{connections} connections are open already, and none of them is idle")]
    Door { connections: usize },
    #[error("{party} has {share} connections open already, and none of them is idle")]
    Share { party: Party, share: usize },
    #[error("{LARGE_REQUESTS} large requests are being read already")]
    LargeRequests,
    #[error("{streams} streams are open already")]
    Streams { streams: usize },
    #[error("{party} has {share} streams open already")]
    ShareOfStreams { party: Party, share: usize },
}

/// All places of a door. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(super) struct Seats {
    limits: Limits,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Debug, Default)]
struct Taken {
    last: u64,
    by: BTreeMap<u64, Sitting>,
}

#[derive(Debug)]
struct Sitting {
    party: Party,
    does: Does,
    /// It has sent the whole head of a request,
    has_asked: bool,
    /// and its body is larger than any command.
    sends_much: bool,
    leave: Arc<Notify>,
}

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Does {
    /// It is waited for, since then.
    KeepUsWaiting(Instant),
    /// It waits for us.
    Wait,
    Listen,
}

impl Taken {
    fn count(&self, counts: impl Fn(&Sitting) -> bool) -> usize {
        self.by.values().filter(|sitting| counts(sitting)).count()
    }

    fn has(&self, party: Party) -> usize {
        self.count(|sitting| sitting.party == party)
    }

    /// Of those that may be asked for room, the one of whoever has most, and of
    /// its connections the idlest.
    fn idlest(&self, may_be: impl Fn(&Sitting) -> bool) -> Option<u64> {
        self.by
            .iter()
            .filter(|(_, sitting)| may_be(sitting))
            .filter_map(|(number, sitting)| match sitting.does {
                Does::KeepUsWaiting(since) => {
                    let most = Reverse(self.has(sitting.party));
                    Some((most, since, *number))
                }
                Does::Wait | Does::Listen => None,
            })
            .min()
            .map(|(_, _, number)| number)
    }

    fn ask_to_leave(&mut self, number: u64) {
        if let Some(sitting) = self.by.remove(&number) {
            sitting.leave.notify_one();
        }
    }
}

impl Seats {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            taken: Arc::default(),
        }
    }

    /// A place for one more connection of `party`, which another makes room for
    /// if need be.
    pub(super) fn take(&self, party: Party) -> Result<Seat, NoPlace> {
        let mut taken = self.lock();
        let has = taken.has(party);
        let share = self.limits.share(party);
        if has >= share {
            let idlest = taken.idlest(|sitting| sitting.party == party);
            let idlest = idlest.ok_or(NoPlace::Share { party, share })?;
            taken.ask_to_leave(idlest);
        } else if !self.has_room(&taken, party) {
            let idlest =
                taken.idlest(
                    |sitting| match (party.is_operator(), sitting.party.is_operator()) {
                        (true, false) => true,
                        (false, true) => false,
                        _ => taken.has(sitting.party) >= has,
                    },
                );
            let connections = self.limits.connections;
            let idlest = idlest.ok_or(NoPlace::Door { connections })?;
            taken.ask_to_leave(idlest);
        }
        let leave = Arc::new(Notify::new());
        taken.last += 1;
        let number = taken.last;
        let sitting = Sitting {
            party,
            does: Does::KeepUsWaiting(Instant::now()),
            has_asked: false,
            sends_much: false,
            leave: Arc::clone(&leave),
        };
        taken.by.insert(number, sitting);
        drop(taken);
        Ok(Seat(Arc::new(Place {
            seats: self.clone(),
            party,
            number,
            leave,
        })))
    }

    fn has_room(&self, taken: &Taken, party: Party) -> bool {
        let Limits { connections, kept } = self.limits;
        let others = taken.count(|sitting| !sitting.party.is_operator());
        taken.by.len() < connections && (party.is_operator() || others < connections - kept)
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's place, and an extension of its requests. It is free again
/// when the last clone is gone.
#[derive(Debug, Clone)]
pub(super) struct Seat(Arc<Place>);

#[derive(Debug)]
struct Place {
    seats: Seats,
    party: Party,
    number: u64,
    leave: Arc<Notify>,
}

impl Seat {
    /// Done when another connection needs the place.
    pub(super) async fn is_needed(&self) {
        self.0.leave.notified().await;
    }

    /// The head of a request is here; the rest of it is waited for.
    pub(super) fn asks(&self) {
        self.waits();
        if let Some(sitting) = self.0.seats.lock().by.get_mut(&self.0.number) {
            sitting.has_asked = true;
        }
    }

    pub(super) fn has_asked(&self) -> bool {
        let taken = self.0.seats.lock();
        // One that has been asked to leave leaves.
        taken
            .by
            .get(&self.0.number)
            .is_none_or(|sitting| sitting.has_asked)
    }

    /// From now on the other end is waited for.
    pub(super) fn waits(&self) {
        self.does(Does::KeepUsWaiting(Instant::now()));
    }

    /// From now on the other end waits for an answer.
    pub(super) fn works(&self) {
        self.does(Does::Wait);
    }

    /// The request is a large one, and there is more of it to come.
    ///
    /// # Errors
    /// When there are enough of them.
    pub(super) fn sends_much(&self) -> Result<(), NoPlace> {
        let Place { party, number, .. } = &*self.0;
        let mut taken = self.0.seats.lock();
        let much = |party| taken.count(|other| other.sends_much && other.party == party);
        if taken.count(|sitting| sitting.sends_much) >= LARGE_REQUESTS {
            let mine = much(*party);
            let idlest = taken.idlest(|other| other.sends_much && much(other.party) >= mine);
            taken.ask_to_leave(idlest.ok_or(NoPlace::LargeRequests)?);
        }
        if let Some(sitting) = taken.by.get_mut(number) {
            sitting.sends_much = true;
        }
        Ok(())
    }

    /// The answer is a stream.
    ///
    /// # Errors
    /// When there are enough of them.
    pub(super) fn streams(&self) -> Result<(), NoPlace> {
        let Place {
            seats,
            party,
            number,
            ..
        } = &*self.0;
        let party = *party;
        let mut taken = seats.lock();
        let streams = seats.limits.streams();
        if taken.count(|sitting| sitting.does == Does::Listen) >= streams {
            return Err(NoPlace::Streams { streams });
        }
        let share = seats.limits.share_of_streams(party);
        let listens = |sitting: &Sitting| sitting.party == party && sitting.does == Does::Listen;
        if taken.count(listens) >= share {
            return Err(NoPlace::ShareOfStreams { party, share });
        }
        if let Some(sitting) = taken.by.get_mut(number) {
            sitting.does = Does::Listen;
        }
        Ok(())
    }

    fn does(&self, does: Does) {
        // Not there: it has been asked to leave.
        if let Some(sitting) = self.0.seats.lock().by.get_mut(&self.0.number) {
            sitting.does = does;
            sitting.sends_much = false;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.seats.lock().by.remove(&self.number);
    }
}

#[cfg(test)]
mod tests;
