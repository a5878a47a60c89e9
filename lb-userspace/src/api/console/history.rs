//! How many flows each backend had during the last minutes, for the chart.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::wire::LoadBalancer;

/// How far back the chart goes.
const KEPT: Duration = Duration::from_secs(5 * 60);
/// What one load balancer's history may hold; with more backends than 200 it
/// goes back less far.
const NUMBERS: usize = 60_000;

/// One look at a load balancer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Sample {
    /// Milliseconds since 1970.
    time: u64,
    /// Open flows by backend.
    flows: BTreeMap<String, u64>,
}

#[derive(Debug, Default)]
pub(super) struct History {
    /// The oldest first, by load balancer.
    samples: BTreeMap<String, Vec<Sample>>,
}

impl History {
    /// Adds a look at all load balancers; those that are gone are forgotten.
    pub(super) fn add(&mut self, time: u64, all: &[LoadBalancer]) {
        self.samples
            .retain(|name, _| all.iter().any(|lb| lb.name == *name));
        let kept = u64::try_from(KEPT.as_millis()).unwrap_or(u64::MAX);
        for lb in all {
            let flows: BTreeMap<String, u64> = lb
                .backends
                .iter()
                .map(|backend| (backend.id.clone(), backend.flows))
                .collect();
            let most = NUMBERS / flows.len().max(1);
            let samples = self.samples.entry(lb.name.clone()).or_default();
            samples.push(Sample { time, flows });
            let too_old = samples.partition_point(|sample| sample.time + kept < time);
            let too_many = samples.len().saturating_sub(most.max(1));
            samples.drain(..too_old.max(too_many));
        }
    }

    pub(super) fn of(&self, lb: &str) -> &[Sample] {
        self.samples.get(lb).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lb(name: &str, backends: usize) -> LoadBalancer {
        let backend = |n| {
            serde_json::json!({
                "id": format!("web-{n}"), "address": "10.0.1.11", "weight": 1,
                "state": "InService", "reason_code": "N/A", "description": "N/A",
                "registration": "registered", "health": "healthy", "health_by_hand": false,
                "takes_new": true, "flows": n, "next_hop": null, "next_hop_error": null,
                "drain": null,
                "counters": crate::wire::BackendCounters::default(),
            })
        };
        let backends: Vec<_> = (0..backends).map(backend).collect();
        serde_json::from_value(serde_json::json!({
            "name": name, "mode": "nat", "listeners": [], "backends": backends,
            "attributes": {
                "connection_draining": { "enabled": true, "timeout": 300 },
                "idle_timeout": 350, "close_rate": 0, "nat_source": "ebb",
            },
            "created": "",
        }))
        .unwrap()
    }

    #[test]
    fn it_goes_back_some_minutes_and_no_further() {
        let mut history = History::default();
        let web = [lb("web", 2)];
        for second in 0..1000 {
            history.add(second * 1000, &web);
        }
        let samples = history.of("web");
        assert_eq!(samples.len(), 301);
        assert_eq!(samples[0].time, 699_000);
        assert_eq!(samples[300].flows["web-1"], 1);
    }

    #[test]
    fn it_stays_small_with_many_backends() {
        let mut history = History::default();
        let large = [lb("large", 2000)];
        for second in 0..100 {
            history.add(second * 1000, &large);
        }
        assert_eq!(history.of("large").len(), 30);
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let mut history = History::default();
        history.add(0, &[lb("web", 1)]);
        history.add(1, &[]);
        assert_eq!(history.of("web"), []);
    }
}
