//! How often a party may try to log in. Pure: time comes in as an argument.
//!
//! Nobody waits for anybody: a try is let through or refused at once, and one
//! party's tries are none of another's.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use crate::api::party::Party;

/// As many tries at once,
const AT_ONCE: u32 = 100;
/// and then one each
const EACH: Duration = Duration::from_secs(1);

/// As many parties are remembered; then the one that tried the longest ago is
/// forgotten.
const PARTIES: usize = 4096;

/// Until when each party's tries are paid for.
#[derive(Debug, Default)]
pub(super) struct Tries(BTreeMap<Party, Instant>);

impl Tries {
    /// Whether `party` may try once more.
    pub(super) fn one_more(&mut self, party: Party, now: Instant) -> bool {
        let paid = self.0.get(&party).map_or(now, |paid| now.max(*paid));
        if paid + EACH > now + EACH * AT_ONCE {
            return false;
        }
        if self.0.len() >= PARTIES && !self.0.contains_key(&party) {
            self.0.retain(|_, paid| *paid > now);
            if self.0.len() >= PARTIES
                && let Some((&longest_ago, _)) = self.0.iter().min_by_key(|(_, paid)| **paid)
            {
                self.0.remove(&longest_ago);
            }
        }
        self.0.insert(party, paid + EACH);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn party(n: u32) -> Party {
        Party::at(std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into())
    }

    #[test]
    fn a_hundred_at_once_and_then_one_a_second() {
        let mut tries = Tries::default();
        let now = Instant::now();
        for _ in 0..AT_ONCE {
            assert!(tries.one_more(party(1), now));
        }
        assert!(!tries.one_more(party(1), now));
        assert!(tries.one_more(party(2), now));
        let later = now + Duration::from_secs(3);
        let passed = (0..10).filter(|_| tries.one_more(party(1), later));
        assert_eq!(passed.count(), 3);
    }

    #[test]
    fn many_parties_take_no_more_room() {
        let mut tries = Tries::default();
        let now = Instant::now();
        for n in 0..10_000 {
            assert!(tries.one_more(party(n), now));
        }
        assert_eq!(tries.0.len(), PARTIES);
    }
}
