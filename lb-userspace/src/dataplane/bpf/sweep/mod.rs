//! The sweeper: ends the flows that have nobody else to end them.
//!
//! - [`decide`]: what becomes of a flow; pure;
//! - [`round`]: the walk through all tables;
//! - [`closer`]: takes a flow out;
//! - [`farewell`]: the thread that sends the RSTs, and keeps the books;
//! - [`pace`]: forced closes that are spread over time; pure;
//! - [`ports`]: which ports of nat are in use, or lost; pure;
//! - [`quiet`]: the end of drains where the backend's side is not seen;
//! - [`audit`]: whether the books balance; pure;
//! - [`shares`]: who has more than its share of a table that is short of room; pure;
//! - here: the thread, and what it does next.
//!
//! It goes round without pause, taking a seventieth of a CPU at most and going
//! round once a second at most. A disowned backend's flows are wanted sooner:
//! for them a round is begun at once that spares nothing.

mod audit;
mod closer;
mod decide;
mod farewell;
mod pace;
mod ports;
mod quiet;
mod round;
mod shares;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tracing::{error, warn};

use self::{
    audit::{Audit, Difference, Sample},
    closer::{Closer, Farewell},
    decide::Stage,
    pace::Paced,
    ports::Ports,
    quiet::Quiet,
    round::{Round, each_open},
};
use super::{
    books,
    kernel_log::KernelLog,
    maps::{AnyKey, Family},
    nat_ports::Port,
    rules::Rules,
    shared::Shared,
    state::{Disowned, Pace},
    table::TableError,
};
use crate::{
    dataplane::{DataplaneError, Event, NatPortFill},
    model::{BackendIndex, Epoch, LbIndex},
};

enum Command {
    /// The kernel refuses these flows already: take them out, and tell when they
    /// are.
    Reclaim(Disowned, Waiter),
    /// Close the flows of a backend one by one.
    Pace(BackendIndex, Pace),
    /// Close what is left of a paced close at once.
    Hurry(BackendIndex),
    Stop,
}

/// Who waits for the end of a job.
enum Waiter {
    Control,
    Caller(mpsc::Sender<()>),
}

/// The sweeper's thread. It ends when this is dropped.
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    pub(super) fn start(shared: Arc<Shared>, log: Option<KernelLog>) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let mut sweeper = Sweeper::new(shared, log)?;
        let thread = thread::Builder::new()
            .name("ebb-sweeper".to_owned())
            .spawn(move || sweeper.run(&inbox))?;
        Ok(Self {
            commands,
            thread: Some(thread),
        })
    }

    /// Takes the flows out and tells control.
    pub(super) fn reclaim(&self, disowned: Disowned) {
        self.send(Command::Reclaim(disowned, Waiter::Control));
    }

    /// Takes the flows out, and returns when they are.
    pub(super) fn reclaim_and_wait(&self, disowned: Disowned) {
        let (done, wait) = mpsc::channel();
        self.send(Command::Reclaim(disowned, Waiter::Caller(done)));
        // It only fails if the thread has gone, and nobody will do it then.
        let _ = wait.recv();
    }

    pub(super) fn pace(&self, backend: BackendIndex, pace: Pace) {
        self.send(Command::Pace(backend, pace));
    }

    pub(super) fn hurry(&self, backend: BackendIndex) {
        self.send(Command::Hurry(backend));
    }

    fn send(&self, command: Command) {
        // The thread goes on until it is told to stop; without it there is
        // nobody to tell.
        let _ = self.commands.send(command);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A backend whose flows are being taken out.
struct Job {
    backend: BackendIndex,
    epoch: Epoch,
    flows: u64,
    /// The first round that is sure to meet them all.
    round: u64,
    waiter: Waiter,
}

struct Sweeper {
    shared: Arc<Shared>,
    closer: Closer,
    round: Option<Round>,
    /// The number of the next round.
    next_round: u64,
    /// When to go on with the round, or begin the next one.
    resume: Instant,
    jobs: Vec<Job>,
    paced: Paced,
    quiet: Quiet,
    audit: Audit,
    ports: Ports,
    /// Rows of nat ports of which many are in use, and when to look for those again.
    crowded: BTreeSet<u32>,
    look_at_ports: Instant,
    /// Whether rows were looked for yet that no flow is met of.
    looked_for_ports: bool,
    /// Who has more than its share of which tables.
    over_share: BTreeMap<LbIndex, u8>,
    /// The counters when the round began.
    before: Vec<(BackendIndex, lb_common::abi::counter::BackendCounters)>,
    /// Read once a round.
    log: Option<KernelLog>,
}

/// A slice of a round is followed by a pause this many times as long: with it,
/// a seventieth of a CPU.
const REST: u32 = 69;

/// Rounds begin at most this often.
const PERIOD: Duration = Duration::from_secs(1);

/// As above, while ports of nat are wanted back: a quarter of a CPU.
const SHORT_REST: u32 = 3;
const SHORT_PERIOD: Duration = Duration::from_millis(100);

/// How long to do nothing after the kernel refused something.
const BACK_OFF: Duration = Duration::from_secs(1);

impl Sweeper {
    fn new(shared: Arc<Shared>, log: Option<KernelLog>) -> io::Result<Self> {
        Ok(Self {
            closer: Closer::new(Arc::clone(&shared.maps))?,
            shared,
            round: None,
            next_round: 0,
            resume: Instant::now(),
            jobs: Vec::new(),
            paced: Paced::default(),
            quiet: Quiet::default(),
            audit: Audit::default(),
            ports: Ports::default(),
            crowded: BTreeSet::new(),
            look_at_ports: Instant::now(),
            looked_for_ports: false,
            over_share: BTreeMap::new(),
            before: Vec::new(),
            log,
        })
    }

    fn run(&mut self, inbox: &mpsc::Receiver<Command>) {
        loop {
            let now = Instant::now();
            let look = self.ports.owned().next().map(|_| self.look_at_ports);
            let wake = [
                Some(self.resume),
                self.paced.wake(),
                self.quiet.wake(),
                look,
            ];
            let wake = wake.into_iter().flatten().min().unwrap_or(now);
            let mut command = match inbox.recv_timeout(wake.saturating_duration_since(now)) {
                Ok(command) => Some(command),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            while let Some(next) = command.take() {
                match self.obey(next) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => warn!(%error, "the sweeper failed"),
                }
                command = inbox.try_recv().ok();
            }
            if let Err(error) = self.work(Instant::now()) {
                warn!(%error, "the sweeper failed; it will try again shortly");
                self.round = None;
                self.resume = Instant::now() + BACK_OFF;
            }
        }
    }

    /// False when told to stop.
    fn obey(&mut self, command: Command) -> Result<bool, DataplaneError> {
        match command {
            Command::Reclaim(disowned, waiter) => self.reclaim(disowned, 0, waiter),
            Command::Pace(backend, pace) => self.pace(backend, pace)?,
            Command::Hurry(backend) if self.paced.has(backend) => self.finish_paced(backend)?,
            Command::Hurry(_) => {}
            Command::Stop => return Ok(false),
        }
        Ok(true)
    }

    /// Does what is due.
    fn work(&mut self, now: Instant) -> Result<(), DataplaneError> {
        let Some(rules) = self.shared.board.latest() else {
            self.resume = now + PERIOD;
            return Ok(());
        };
        self.close_paced(now)?;
        self.quiet.tick(&mut self.closer, &rules, now)?;
        if now >= self.look_at_ports {
            self.look_at_ports(now);
        }
        if now >= self.resume {
            self.go_round(rules)?;
        }
        Ok(())
    }

    /// Ports that are wanted back soon do not wait for the end of a round that spares the
    /// CPU.
    fn look_at_ports(&mut self, now: Instant) {
        let ports = &self.shared.maps.nat_ports;
        let owned = self.ports.owned();
        let is_crowded = |row: &u32| ports.is_crowded(*row, self.crowded.contains(row));
        let crowded: BTreeSet<_> = owned.filter(is_crowded).collect();
        if !crowded.is_subset(&self.crowded) {
            if self.round.as_ref().is_some_and(|round| !round.urgent) {
                self.round = None;
            }
            self.resume = now;
        }
        self.crowded = crowded;
        self.look_at_ports = now + SHORT_PERIOD;
    }

    /// Has the next round take the backend's flows out; `closed` of them were
    /// closed before.
    fn reclaim(&mut self, disowned: Disowned, closed: u64, waiter: Waiter) {
        let Disowned {
            backend,
            epoch,
            flows,
        } = disowned;
        // A round that serves others goes on to its end first: else a stream of
        // jobs would never see one.
        if self.round.as_ref().is_some_and(|round| !round.urgent) {
            self.round = None;
        }
        self.jobs.push(Job {
            backend,
            epoch,
            flows: flows + closed,
            round: self.next_round,
            waiter,
        });
        self.resume = Instant::now();
    }

    fn pace(&mut self, backend: BackendIndex, pace: Pace) -> Result<(), TableError> {
        if self.paced.has(backend) {
            // It is being closed; what came later is taken out at the end.
            return Ok(());
        }
        let mut keys = Vec::new();
        each_open(&self.shared.maps, |key, of, _, _| {
            if of == backend {
                keys.push(key);
            }
        })?;
        self.paced.add(backend, pace, keys, Instant::now());
        Ok(())
    }

    fn close_paced(&mut self, now: Instant) -> Result<(), DataplaneError> {
        if self.paced.is_empty() {
            return Ok(());
        }
        while let Some((backend, key)) = self.paced.next(now) {
            let closed = match key {
                AnyKey::V4(key) => close_one(&mut self.closer, &key, backend)?,
                AnyKey::V6(key) => close_one(&mut self.closer, &key, backend)?,
            };
            if closed {
                self.paced.count(backend);
            }
        }
        self.closer.flush()?;
        while let Some(backend) = self.paced.done() {
            self.finish_paced(backend)?;
        }
        Ok(())
    }

    /// The rest of a paced close: all at once.
    fn finish_paced(&mut self, backend: BackendIndex) -> Result<(), DataplaneError> {
        let closed = self.paced.remove(backend);
        let rest = self.shared.change(|state| state.finish_paced(backend))?;
        if let Some(rest) = rest {
            self.reclaim(rest, closed, Waiter::Control);
        }
        Ok(())
    }

    /// A slice of the round, or the beginning of one.
    fn go_round(&mut self, rules: Arc<Rules>) -> Result<(), DataplaneError> {
        let started = Instant::now();
        let round = match &mut self.round {
            Some(round) => round,
            None => {
                let max = self.shared.maps.v4.flows.max_entries();
                let crowds = self.shared.fill.crowds(max);
                let urgent = !self.jobs.is_empty();
                let crowded = self.crowded.clone();
                let round = Round::new(self.next_round, rules, urgent, crowds, crowded);
                self.next_round += 1;
                let backends = round.rules.backends().map(|(index, _)| index);
                self.before = books::rows(&self.shared.maps, self.audit.turn(backends))?;
                self.round.insert(round)
            }
        };
        let urgent = round.urgent;
        let is_over = round.slice(&mut self.closer, &self.shared.board)?;
        let rest = if self.crowded.is_empty() {
            REST
        } else {
            SHORT_REST
        };
        self.resume = if urgent {
            started
        } else {
            Instant::now() + started.elapsed() * rest
        };
        if is_over && let Some(round) = self.round.take() {
            self.closer.flush()?;
            self.end_round(&round)?;
            let next = if self.jobs.is_empty() {
                round.began
                    + if self.crowded.is_empty() {
                        PERIOD
                    } else {
                        SHORT_PERIOD
                    }
            } else {
                started
            };
            self.resume = self.resume.max(next);
        }
        Ok(())
    }

    /// What a round has shown to be done.
    fn end_round(&mut self, round: &Round) -> Result<(), DataplaneError> {
        let (done, jobs) = std::mem::take(&mut self.jobs)
            .into_iter()
            .partition(|job| job.round <= round.number);
        self.jobs = jobs;
        let done: Vec<Job> = done;
        for job in done {
            match job.waiter {
                Waiter::Control => self.shared.tell(Event::Closed {
                    backend: job.backend,
                    epoch: job.epoch,
                    flows: job.flows,
                }),
                // Who does not wait any more need not be told.
                Waiter::Caller(caller) => drop(caller.send(())),
            }
        }
        self.audit(round)?;
        self.audit_ports(round)?;
        self.forget(round)?;
        self.shared
            .fill
            .note(round.tally.established, round.began.elapsed());
        self.share_out(round)?;
        if let Some(log) = &mut self.log {
            log.flush();
        }
        Ok(())
    }

    /// Leaves what room there is to those who have less than their share of it.
    fn share_out(&mut self, round: &Round) -> Result<(), DataplaneError> {
        let max = self.shared.maps.v4.flows.max_entries();
        let crowds = self.shared.fill.crowds(max);
        let over = shares::over(&round.rules, &round.tally, crowds, max);
        if over != self.over_share {
            self.shared.change(|state| state.set_over_share(&over))?;
            self.over_share = over;
        }
        Ok(())
    }

    fn audit(&mut self, round: &Round) -> Result<(), DataplaneError> {
        let before = std::mem::take(&mut self.before);
        let after = books::rows(&self.shared.maps, before.iter().map(|(index, _)| *index))?;
        let samples = before
            .into_iter()
            .zip(after)
            .map(|((index, before), (_, after))| {
                let found = round.tally.open(index);
                let sample = Sample {
                    before,
                    after,
                    found,
                };
                (index, sample)
            });
        for (backend, sample, difference) in self.audit.round(samples) {
            let Sample { after, found, .. } = sample;
            if let Difference::Inherited(flows) = difference {
                warn!(
                    backend,
                    flows, "flows had ended unnoted when the agent before this one did"
                );
                self.closer.note(backend, flows)?;
                continue;
            }
            let (opened, closed) = (after.opened, after.closed);
            error!(backend, opened, closed, found, "the books do not balance");
            self.shared.tell(Event::BooksDiffer {
                backend,
                counted: books::active(&after),
                found,
            });
        }
        Ok(())
    }

    /// Frees ports that no flow has, and notes how many are in use.
    fn audit_ports(&mut self, round: &Round) -> Result<(), DataplaneError> {
        let ports = &self.shared.maps.nat_ports;
        let met = &round.tally.ports;
        let mut rows: BTreeSet<u32> = met.rows().collect();
        rows.extend(self.ports.owned());
        if !self.looked_for_ports {
            rows.extend(ports.in_use()?);
            self.looked_for_ports = true;
        }
        let (blank, span) = (ports.blank(), ports.span());
        let mut fills = Vec::new();
        for row in rows {
            let finding = self.ports.row(row, &ports.bound(row), blank, met);
            for place in finding.lost {
                ports.free(Port { row, place });
            }
            if finding.idle {
                ports.leave(row);
            }
            fills.extend(met.targets(row).map(|target| NatPortFill {
                target,
                used: finding.used,
                limit: span.into(),
            }));
        }
        self.shared.fill.note_ports(fills);
        Ok(())
    }

    /// Frees what was retired before the round and was met nowhere in it.
    fn forget(&mut self, round: &Round) -> Result<(), DataplaneError> {
        let tally = &round.tally;
        let retired = round.rules.backends().filter(|(_, rule)| rule.retired);
        for (backend, _) in retired.filter(|(index, _)| !tally.names(*index)) {
            if self.shared.change(|state| state.forget_backend(backend))? {
                self.audit.forget(backend);
                self.shared.tell(Event::Forgotten(backend));
            }
        }
        let listeners: BTreeSet<_> = round
            .rules
            .retired_listeners
            .difference(tally.listeners())
            .copied()
            .collect();
        if !listeners.is_empty() {
            self.shared
                .change(|state| state.forget_listeners(&listeners))?;
        }
        // A source that was wanted when the round began may have got flows where
        // the round had been already.
        let mut used = tally.nat_sources();
        used.extend(&round.rules.nat_sources);
        self.shared
            .change(|state| state.forget_nat_sources(&used))?;
        Ok(())
    }
}

/// Closes a flow that the table still has; true if it was open.
fn close_one<A: Family>(
    closer: &mut Closer,
    key: &lb_common::abi::flow::FlowKey<A>,
    backend: BackendIndex,
) -> Result<bool, TableError> {
    match A::maps(closer.maps()).flows.get(key)? {
        Some(flow) if flow.backend == backend => {
            closer.close(Stage::Established, key, &flow, Farewell::Reset)
        }
        _ => Ok(false),
    }
}
