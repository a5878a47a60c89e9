//! How often a party may try whether it has the secret. Time comes in as an argument.
//!
//! Nobody waits for anybody: a try is let through or refused at once, and one
//! party's tries are none of another's.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::party::Party;

/// As many tries at once,
const AT_ONCE: u32 = 100;
/// and then one each
const EACH: Duration = Duration::from_secs(1);

/// As many parties are remembered; then the one that tried the longest ago is
/// forgotten.
const PARTIES: usize = 4096;

/// Until when each party's tries are paid for.
#[derive(Debug, Default)]
pub(super) struct Tries(Mutex<BTreeMap<Party, Instant>>);

impl Tries {
    /// Whether `party` has a try left.
    pub(super) fn has_one(&self, party: Party, now: Instant) -> bool {
        paid_then(&self.lock(), party, now).is_some()
    }

    /// Whether `party` may try once more; it then has one less.
    pub(super) fn one_more(&self, party: Party, now: Instant) -> bool {
        let mut paid = self.lock();
        let Some(then) = paid_then(&paid, party, now) else {
            return false;
        };
        if paid.len() >= PARTIES && !paid.contains_key(&party) {
            paid.retain(|_, paid| *paid > now);
            if paid.len() >= PARTIES
                && let Some((&longest_ago, _)) = paid.iter().min_by_key(|(_, paid)| **paid)
            {
                paid.remove(&longest_ago);
            }
        }
        paid.insert(party, then);
        true
    }

    /// It was no guess: `party` has the try back.
    pub(super) fn one_back(&self, party: Party) {
        if let Some(paid) = self.lock().get_mut(&party) {
            *paid -= EACH;
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Party, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until when the tries of `party` are paid for after one more, if it may have that.
fn paid_then(paid: &BTreeMap<Party, Instant>, party: Party, now: Instant) -> Option<Instant> {
    let then = paid.get(&party).map_or(now, |paid| now.max(*paid)) + EACH;
    (then <= now + EACH * AT_ONCE).then_some(then)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(n: u32) -> Party {
        Party::at(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into())
    }

    #[test]
    fn a_hundred_at_once_and_then_one_a_second() {
        let tries = Tries::default();
        let now = Instant::now();
        for _ in 0..AT_ONCE {
            assert!(tries.has_one(party(1), now));
            assert!(tries.one_more(party(1), now));
        }
        assert!(!tries.has_one(party(1), now));
        assert!(!tries.one_more(party(1), now));
        assert!(tries.one_more(party(2), now));
        let later = now + Duration::from_secs(3);
        let passed = (0..10).filter(|_| tries.one_more(party(1), later));
        assert_eq!(passed.count(), 3);
    }

    #[test]
    fn what_was_no_guess_is_not_counted() {
        let tries = Tries::default();
        let now = Instant::now();
        for _ in 0..1_000 {
            assert!(tries.one_more(party(1), now));
            tries.one_back(party(1));
        }
        let passed = (0..1_000).filter(|_| tries.one_more(party(1), now));
        assert_eq!(passed.count(), AT_ONCE as usize);
    }

    #[test]
    fn many_parties_take_no_more_room() {
        let tries = Tries::default();
        let now = Instant::now();
        for n in 0..10_000 {
            assert!(tries.one_more(party(n), now));
        }
        assert_eq!(tries.lock().len(), PARTIES);
    }
}
