//! Forced closes at the pace of their load balancer: a thousand clients that
//! connect again in the same millisecond are an outage too.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::super::{maps::AnyKey, state::Pace};
use crate::model::{BackendIndex, LbIndex};

/// How far the pace may be caught up with after a pause.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Evenly spaced permissions.
#[derive(Debug)]
struct Pacer {
    interval: Duration,
    next: Instant,
}

impl Pacer {
    fn new(per_second: u32, now: Instant) -> Self {
        Self {
            interval: Duration::from_secs(1) / per_second.max(1),
            next: now,
        }
    }

    fn permits(&mut self, now: Instant) -> bool {
        if self.next > now {
            return false;
        }
        let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
        self.next = self.next.max(earliest) + self.interval;
        true
    }
}

/// The paced closes of one load balancer, in the order in which they were asked
/// for.
#[derive(Debug)]
struct Queue {
    pacer: Pacer,
    flows: VecDeque<(BackendIndex, AnyKey)>,
}

/// Flows that wait to be closed.
#[derive(Debug, Default)]
pub(super) struct Paced {
    queues: BTreeMap<LbIndex, Queue>,
    /// Backends that are being closed: how many flows wait, and how many were
    /// closed.
    backends: BTreeMap<BackendIndex, Progress>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    waiting: u64,
    closed: u64,
}

impl Paced {
    /// Adds the flows of a backend.
    pub(super) fn add(
        &mut self,
        backend: BackendIndex,
        Pace { lb, per_second }: Pace,
        flows: impl IntoIterator<Item = AnyKey>,
        now: Instant,
    ) {
        let queue = self.queues.entry(lb).or_insert_with(|| Queue {
            pacer: Pacer::new(per_second, now),
            flows: VecDeque::new(),
        });
        queue.pacer.interval = Pacer::new(per_second, now).interval;
        let before = queue.flows.len();
        queue
            .flows
            .extend(flows.into_iter().map(|key| (backend, key)));
        let added = (queue.flows.len() - before) as u64;
        self.backends.entry(backend).or_default().waiting += added;
    }

    /// Nothing is being closed.
    pub(super) fn is_empty(&self) -> bool {
        self.backends.is_empty()
    }

    pub(super) fn has(&self, backend: BackendIndex) -> bool {
        self.backends.contains_key(&backend)
    }

    /// The next flow that may be closed now.
    pub(super) fn next(&mut self, now: Instant) -> Option<(BackendIndex, AnyKey)> {
        let mut queues = self.queues.values_mut().filter(|q| !q.flows.is_empty());
        let (backend, key) = queues.find_map(|queue| {
            let permitted = queue.pacer.permits(now);
            permitted.then(|| queue.flows.pop_front()).flatten()
        })?;
        if let Some(progress) = self.backends.get_mut(&backend) {
            progress.waiting -= 1;
        }
        Some((backend, key))
    }

    /// A flow of the backend was closed.
    pub(super) fn count(&mut self, backend: BackendIndex) {
        if let Some(progress) = self.backends.get_mut(&backend) {
            progress.closed += 1;
        }
    }

    /// A backend of which no flow waits any more.
    pub(super) fn done(&self) -> Option<BackendIndex> {
        let mut backends = self.backends.iter();
        backends
            .find(|(_, progress)| progress.waiting == 0)
            .map(|(backend, _)| *backend)
    }

    /// Closes the backend's remaining flows some other way, and says how many
    /// were closed.
    pub(super) fn remove(&mut self, backend: BackendIndex) -> u64 {
        for queue in self.queues.values_mut() {
            queue.flows.retain(|(of, _)| *of != backend);
        }
        self.queues.retain(|_, queue| !queue.flows.is_empty());
        self.backends.remove(&backend).map_or(0, |p| p.closed)
    }

    /// When there is something to do again.
    pub(super) fn wake(&self) -> Option<Instant> {
        let queues = self.queues.values().filter(|q| !q.flows.is_empty());
        queues.map(|queue| queue.pacer.next).min()
    }
}

#[cfg(test)]
mod tests {
    use lb_common::abi::flow::FlowKey;

    use super::*;

    fn keys(n: usize) -> Vec<AnyKey> {
        vec![AnyKey::V4(FlowKey::default()); n]
    }

    fn pace(lb: LbIndex, per_second: u32) -> Pace {
        Pace { lb, per_second }
    }

    /// Closes what may be closed, in steps of a millisecond.
    fn run(paced: &mut Paced, start: Instant, for_ms: u64) -> Vec<(u64, BackendIndex)> {
        let mut closed = Vec::new();
        for ms in 0..for_ms {
            while let Some((backend, _)) = paced.next(start + Duration::from_millis(ms)) {
                paced.count(backend);
                closed.push((ms, backend));
            }
        }
        closed
    }

    #[test]
    fn flows_are_closed_at_the_pace_and_no_faster() {
        let start = Instant::now();
        let mut paced = Paced::default();
        paced.add(1, pace(0, 100), keys(500), start);
        let closed = run(&mut paced, start, 1000);
        assert_eq!(closed.len(), 100);
        for second in closed.windows(2) {
            assert!(second[1].0 - second[0].0 >= 10);
        }
        assert_eq!(paced.done(), None);
        assert_eq!(paced.remove(1), 100);
    }

    #[test]
    fn backends_of_one_load_balancer_share_its_pace() {
        let start = Instant::now();
        let mut paced = Paced::default();
        paced.add(1, pace(0, 50), keys(10), start);
        paced.add(2, pace(0, 50), keys(1000), start);
        paced.add(3, pace(9, 50), keys(1000), start);
        let closed = run(&mut paced, start, 1000);
        let of = |backend| closed.iter().filter(|(_, b)| *b == backend).count();
        assert_eq!((of(1), of(2), of(3)), (10, 40, 50));
        assert_eq!(paced.done(), Some(1));
    }

    #[test]
    fn a_pause_is_not_made_up_for_by_a_burst() {
        let start = Instant::now();
        let mut paced = Paced::default();
        paced.add(1, pace(0, 1000), keys(100_000), start);
        let late = start + Duration::from_secs(60);
        let mut burst = 0;
        while paced.next(late).is_some() {
            burst += 1;
        }
        assert!(burst <= 101, "{burst}");
    }

    #[test]
    fn a_backend_without_flows_is_done_at_once() {
        let mut paced = Paced::default();
        paced.add(4, pace(0, 1), keys(0), Instant::now());
        assert_eq!(paced.done(), Some(4));
        assert_eq!(paced.remove(4), 0);
        assert!(!paced.has(4));
        assert_eq!(paced.wake(), None);
    }
}
