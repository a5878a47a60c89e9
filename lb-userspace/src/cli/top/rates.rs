//! What happens a second, from counters that only go up.

use std::{collections::HashMap, time::Instant};

use crate::wire::{BackendCounters, LoadBalancer};

/// A second's worth.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) opened: f64,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) packets: f64,
}

/// By load balancer and backend.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Rates(HashMap<(String, String), Rate>);

impl Rates {
    /// None for a backend that was not there before.
    pub(super) fn of(&self, lb: &str, backend: &str) -> Option<Rate> {
        self.0.get(&(lb.to_owned(), backend.to_owned())).copied()
    }

    pub(super) fn total(&self) -> Rate {
        self.0.values().fold(Rate::default(), |sum, rate| Rate {
            opened: sum.opened + rate.opened,
            bytes_in: sum.bytes_in + rate.bytes_in,
            bytes_out: sum.bytes_out + rate.bytes_out,
            packets: sum.packets + rate.packets,
        })
    }
}

/// By load balancer and backend.
type Counters = HashMap<(String, String), BackendCounters>;

/// Remembers the last sample.
#[derive(Debug, Default)]
pub(super) struct Meter {
    last: Option<(Instant, Counters)>,
}

impl Meter {
    pub(super) fn measure(&mut self, lbs: &[LoadBalancer], now: Instant) -> Rates {
        let counters: Counters = lbs
            .iter()
            .flat_map(|lb| {
                lb.backends
                    .iter()
                    .map(|backend| ((lb.name.clone(), backend.id.clone()), backend.counters))
            })
            .collect();
        let mut rates = HashMap::new();
        if let Some((then, before)) = &self.last {
            let seconds = now.duration_since(*then).as_secs_f64();
            if seconds > 0.0 {
                for (key, now) in &counters {
                    if let Some(rate) = before.get(key).and_then(|then| rate(then, now, seconds)) {
                        rates.insert(key.clone(), rate);
                    }
                }
            }
        }
        self.last = Some((now, counters));
        Rates(rates)
    }
}

/// None when the counters began anew.
fn rate(then: &BackendCounters, now: &BackendCounters, seconds: f64) -> Option<Rate> {
    let per_second = |then: u64, now: u64| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a second's difference, shown with two digits"
        )]
        let difference = now.checked_sub(then)? as f64;
        Some(difference / seconds)
    };
    Some(Rate {
        opened: per_second(then.opened, now.opened)?,
        bytes_in: per_second(then.bytes_in, now.bytes_in)?,
        bytes_out: per_second(then.bytes_out, now.bytes_out)?,
        packets: per_second(then.packets_in, now.packets_in)?
            + per_second(then.packets_out, now.packets_out)?,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::cli::samples;

    #[test]
    fn a_rate_is_what_was_added_a_second() {
        let mut lb = samples::load_balancer();
        let mut meter = Meter::default();
        let begin = Instant::now();
        let first = meter.measure(std::slice::from_ref(&lb), begin);
        assert_eq!(first.of("web", "web-1"), None);

        lb.backends[0].counters.opened += 10;
        lb.backends[0].counters.bytes_out += 4096;
        lb.backends[0].counters.packets_in += 6;
        // Counters that fell are another backend's under the same name.
        lb.backends[1].counters.opened = 5;
        let later = begin + Duration::from_secs(2);
        let second = meter.measure(std::slice::from_ref(&lb), later);
        let rate = second.of("web", "web-1").unwrap();
        assert_eq!(
            rate,
            Rate {
                opened: 5.0,
                bytes_in: 0.0,
                bytes_out: 2048.0,
                packets: 3.0,
            }
        );

        lb.backends[1].counters.opened = 0;
        let third = meter.measure(std::slice::from_ref(&lb), later + Duration::from_secs(1));
        assert_eq!(third.of("web", "web-2"), None);
        assert_eq!(third.total(), Rate::default());
    }
}
