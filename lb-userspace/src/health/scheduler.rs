//! Checks every backend of the roster again and again, and reports what the
//! results add up to.
//!
//! One task per backend, so that its checks never overlap; a task that waits
//! costs next to nothing. The number of checks under way is bounded, and no load
//! balancer's checks wait for another's ([`places`](super::places)).

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use super::{
    board::{Board, Entry},
    failure::Failure,
    pace,
    places::Places,
    probe::Probe,
    report::{NotTaken, Reports},
    thresholds::Tally,
};
use crate::{
    clock::Wall,
    model::{HealthCheck, HealthReport, Key, Roster, Standing, Subject},
};

/// A host that cannot check says so that often at most.
const COMPLAINT: Duration = Duration::from_secs(60);

/// Checks the backends of `roster`, which may change at any time, until its
/// sender is gone.
pub async fn run(
    mut roster: watch::Receiver<Arc<Roster>>,
    control: impl Reports,
    board: Board,
    prober: impl Probe,
    under_way: NonZeroUsize,
) {
    let doctor = Arc::new(Doctor {
        prober,
        control,
        board,
        places: Places::new(under_way),
        complained: Mutex::new(None),
    });
    let mut rounds = Rounds::new();
    loop {
        let wanted = Arc::clone(&roster.borrow_and_update());
        follow(&mut rounds, &wanted, &doctor);
        if roster.changed().await.is_err() {
            return;
        }
    }
}

type Rounds = BTreeMap<Key, Round>;

/// A backend that is being checked. Ends with this value.
struct Round {
    subject: Subject,
    task: JoinHandle<()>,
}

impl Drop for Round {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Makes `rounds` what `roster` wants.
fn follow<P: Probe, R: Reports>(rounds: &mut Rounds, roster: &Roster, doctor: &Arc<Doctor<P, R>>) {
    rounds.retain(|key, round| {
        let goes_on = roster
            .get(key)
            .is_some_and(|subject| round.goes_on(subject));
        if roster.get(key).is_none() {
            doctor.board.forget(key);
        }
        goes_on
    });
    let newcomers = roster.len() - rounds.len();
    if newcomers > 0 {
        warn_of_late_checks(roster);
    }
    for (key, subject) in roster.iter() {
        if let Some(round) = rounds.get_mut(&key) {
            round.subject.standing = subject.standing;
            continue;
        }
        let wait = pace::first(newcomers, subject.check.interval(), fastrand::f64());
        let task = Arc::clone(doctor).attend(key.clone(), subject.clone(), wait);
        let round = Round {
            subject: subject.clone(),
            task: tokio::spawn(task),
        };
        rounds.insert(key, round);
    }
}

/// Says which load balancers' checks cannot be made in time once they hang.
fn warn_of_late_checks(roster: &Roster) {
    for (load_balancer, check, backends) in roster.checks() {
        if let Some(warning) = check.warning(backends) {
            tracing::warn!(%load_balancer, "{warning}");
        }
    }
}

impl Round {
    /// Whether the round is for `subject` as it is now. A standing that changed
    /// is what the round itself has reported; only a new backend under an old
    /// name begins anew.
    fn goes_on(&self, subject: &Subject) -> bool {
        let known = &self.subject;
        let new = subject.standing == Standing::New && known.standing != Standing::New;
        known.address == subject.address && known.check == subject.check && !new
    }
}

/// What all rounds share.
struct Doctor<P, R> {
    prober: P,
    control: R,
    board: Board,
    places: Places,
    /// When it was last said that checks cannot be made.
    complained: Mutex<Option<Instant>>,
}

impl<P: Probe, R: Reports> Doctor<P, R> {
    /// Checks one backend until the task is aborted.
    async fn attend(self: Arc<Self>, key: Key, subject: Subject, wait: Duration) {
        let Subject {
            address,
            check,
            standing,
        } = subject;
        let mut tally = Tally::new(standing);
        // What control knows.
        let mut known = standing;
        let mut due = Instant::now() + wait;
        loop {
            sleep_until(due).await;
            let place = self.places.take(&key.lb).await;
            let begun = Instant::now();
            due = pace::next(begun, check.interval(), fastrand::f64());
            let result = self.prober.probe(address, &check).await;
            drop(place);
            let entry = Entry::new(Wall::now(), begun.elapsed(), &result);
            self.board.post(&key, entry);
            if let Err(failure) = &result {
                if failure.is_ours() {
                    self.complain(&key, failure);
                    continue;
                }
                tracing::debug!(load_balancer = %key.lb, backend = %key.backend, %failure, "a health check failed");
            }
            let stands = tally.count(result.is_ok(), check.thresholds());
            // Said again after the next check if control could not take it in.
            if stands != known
                && let Some(report) = report(stands, &check, &result)
                && self.report(&key, report).await
            {
                known = stands;
            }
        }
    }

    async fn report(&self, key: &Key, report: HealthReport) -> bool {
        match self.control.report(key, report).await {
            Ok(()) => true,
            Err(NotTaken::Gone) => false,
            Err(NotTaken::Refused(error)) => {
                tracing::warn!(load_balancer = %key.lb, backend = %key.backend, %error, "a change of health was not taken in");
                false
            }
        }
    }

    fn complain(&self, key: &Key, failure: &Failure) {
        let mut complained = self
            .complained
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if complained.is_none_or(|at| at.elapsed() >= COMPLAINT) {
            *complained = Some(Instant::now());
            tracing::warn!(load_balancer = %key.lb, backend = %key.backend, %failure, "health checks cannot be made; backends stay as they are");
        }
    }
}

fn report(
    stands: Standing,
    check: &HealthCheck,
    last: &Result<(), Failure>,
) -> Option<HealthReport> {
    match (stands, last) {
        (Standing::New, _) => None,
        (Standing::Healthy, _) => Some(HealthReport::Healthy),
        (Standing::Unhealthy, Err(failure)) => Some(HealthReport::Unhealthy(format!(
            "{} failed {} times in a row: {failure}",
            check.target(),
            check.thresholds().unhealthy,
        ))),
        // It passes again, and control has still to hear that it had failed.
        (Standing::Unhealthy, Ok(())) => Some(HealthReport::Unhealthy(format!(
            "{} has not passed {} times in a row yet",
            check.target(),
            check.thresholds().healthy,
        ))),
    }
}

#[cfg(test)]
mod tests;
