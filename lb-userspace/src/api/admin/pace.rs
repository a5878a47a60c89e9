//! How many requests a second: those beyond it wait for their turn, so that a
//! script gone wild cannot keep the control task from its timers.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// One request costs this much time,
const COST: Duration = Duration::from_micros(500);
/// and this much may be spent at once.
const SAVINGS: Duration = Duration::from_millis(500);

/// A leaky bucket that all connections share.
#[derive(Debug, Clone, Default)]
pub(super) struct Pace {
    /// When everything that was let through is paid for.
    paid: Arc<Mutex<Option<Instant>>>,
}

impl Pace {
    /// Returns when the next request may be asked.
    pub(super) async fn wait(&self) {
        let now = Instant::now();
        let turn = self.turn(now);
        if turn > now {
            tokio::time::sleep_until(turn).await;
        }
    }

    fn turn(&self, now: Instant) -> Instant {
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let next = paid.map_or(now, |paid| paid.max(now)) + COST;
        *paid = Some(next);
        // Far enough back to spend what was saved.
        next.checked_sub(SAVINGS).unwrap_or(now).max(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_is_spread_out() {
        let pace = Pace::default();
        let begin = Instant::now();
        for _ in 0..1_000 {
            assert_eq!(pace.turn(begin), begin);
        }
        let mut last = begin;
        for _ in 0..2_000 {
            last = pace.turn(begin);
        }
        assert_eq!(last, begin + Duration::from_secs(1));
        let later = begin + Duration::from_secs(10);
        assert_eq!(pace.turn(later), later);
    }
}
