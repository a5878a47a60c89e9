//! The sole writer: the thread that owns the state and the data plane.
//!
//! Every change takes the same way ([`Control::commit`]): a draft of the state
//! is checked, stored, put in force in the kernel, and only then is it the
//! state, said to listeners, and answered. If the store fails, nothing has
//! happened; if the kernel refuses, the store and the kernel get the old state
//! back.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::{Arc, mpsc::RecvTimeoutError},
    time::Duration,
};

use super::{
    edit::{Draft, Note},
    error::Error,
    handle::{Declare, Inbox, Message, Report, Request},
    merge::{Edit, merge},
    plan::plan,
    state::{State, Ways},
    vip::VipKeeper,
};
use crate::{
    clock::{Clock, Moment, Now},
    dataplane::{self, Change, Dataplane, Ties, View},
    model::{BackendId, BackendIndex, LbName, NextHop},
    store::Store,
    tables::TableSizes,
    wire::{Event, What},
};

/// How often a drain is looked at: well within P3's second.
const POLL: Duration = Duration::from_millis(100);
/// How often a drain's progress is said.
const PROGRESS: Duration = Duration::from_secs(5);
/// How often what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often a failure that lasts is logged.
const COMPLAIN: Duration = Duration::from_secs(60);
/// How often the addresses of removed listeners are looked after.
const HELD: Duration = Duration::from_secs(10);
/// How long there may be nothing to do at all.
const IDLE: Duration = Duration::from_secs(60);
/// How many requests are answered before the timers have their turn.
const BATCH: usize = 64;
/// Flows that are read at a time, to be sorted or searched.
pub(super) const FLOWS_READ: usize = 1 << 20;

/// What the control thread works with.
pub struct Parts {
    pub clock: Box<dyn Clock>,
    pub store: Box<dyn Store>,
    pub dataplane: Box<dyn Dataplane>,
    /// None: VIPs are somebody else's business.
    pub vips: Option<Box<dyn VipKeeper>>,
}

/// The owner of the state.
pub struct Control {
    pub(super) inbox: Inbox,
    backlog: VecDeque<Message>,
    pub(super) parts: Parts,
    pub(super) started: Now,
    pub(super) state: State,
    /// What there is room for.
    pub(super) sizes: TableSizes,
    /// What the kernel was told.
    view: View,
    pub(super) ways: Ways,
    events: u64,
    pub(super) books_differ: u64,
    looked: Moment,
    held_looked: Moment,
    progress: BTreeMap<BackendIndex, Moment>,
    pub(super) trouble: Trouble,
}

/// What went wrong behind the scenes and is tried again.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// The store has another state than the one in force.
    pub(super) store_behind: bool,
    /// The kernel may have.
    pub(super) kernel_behind: bool,
    /// What the data plane said, and what could not be made of it.
    unheard: Vec<dataplane::Event>,
    retried: Moment,
    said: Option<(String, Moment)>,
}

impl Control {
    /// Loads the state, makes it what the configuration file has newly said,
    /// and makes the kernel agree with it.
    ///
    /// # Errors
    /// When the state cannot be read or written, the file asks for what cannot
    /// be done, or the kernel refuses.
    pub fn start(inbox: Inbox, mut parts: Parts, file: Option<Declare>) -> Result<Self, Error> {
        let now = parts.clock.now();
        let state = parts.store.load(now).map_err(Error::Store)?;
        let sizes = parts.dataplane.sizes();
        let mut control = Self {
            inbox,
            backlog: VecDeque::new(),
            parts,
            started: now,
            state: state.unwrap_or_default(),
            sizes,
            view: View::default(),
            ways: Ways::new(),
            events: 0,
            books_differ: 0,
            looked: now.moment,
            held_looked: now.moment,
            progress: BTreeMap::new(),
            trouble: Trouble::default(),
        };
        control.begin(file)?;
        Ok(control)
    }

    fn begin(&mut self, file: Option<Declare>) -> Result<(), Error> {
        let mut draft = self.draft();
        if let Some(declare) = file {
            declared(&mut draft, &self.state, &declare)?;
        }
        draft.settle();
        if self.parts.vips.is_none() {
            for (address, interface) in std::mem::take(&mut draft.state.vips) {
                tracing::info!("{address} stays on {interface}: VIPs are not managed any more");
            }
        }
        draft.validate()?;
        let view = draft.state.view(&self.ways);
        self.parts.dataplane.check(&plan(&View::default(), &view))?;
        // After a reboot, or a change of hands, an address may be gone.
        let placed = self.place_vips(&BTreeSet::new(), &mut draft.state)?;
        if let Err(error) = self.parts.store.save(&draft.state, draft.now) {
            // With nothing new to remember, a full disk is no reason to leave
            // the kernel alone.
            if !draft.is_no_change(&self.state) {
                return Err(Error::Store(error));
            }
            self.trouble.store_behind = true;
            self.complain(&error.to_string(), draft.now);
        }
        if let Err(error) = self.begin_in_force(&draft.state, &view) {
            self.take_back_start(&placed, &draft);
            return Err(error);
        }
        let before = self.state.view(&self.ways);
        self.state = draft.state;
        self.view = view;
        self.say(draft.notes, "agent", draft.now);
        self.say_service(&before, "agent", draft.now);
        self.tidy_vips();
        self.publish_roster();
        // What fell due while no agent was there.
        self.look_at_drains(None, "agent");
        tracing::info!(
            load_balancers = self.state.load_balancers.len(),
            backends = self.view.backends.len(),
            "in force"
        );
        Ok(())
    }

    /// Puts a whole state in force.
    fn begin_in_force(&mut self, state: &State, view: &View) -> Result<(), Error> {
        let wanted = state.wanted_vips();
        for (address, interface) in &state.vips {
            if let Some(keeper) = &mut self.parts.vips
                && wanted.contains(address)
            {
                keeper.add(*address, interface).map_err(Error::Vip)?;
            }
        }
        self.parts.dataplane.reconcile(view)?;
        // What was asked for before and has not been answered.
        let forget = state.retired.iter().copied();
        let mut again: Vec<Change> = forget.map(Change::RemoveBackend).collect();
        for (_, _, backend) in state.backends() {
            if let (Some(index), Some(epoch)) = (backend.index, backend.life.closing()) {
                again.push(Change::Disown {
                    backend: index,
                    epoch,
                });
            }
        }
        Ok(self.parts.dataplane.apply(&again)?)
    }

    /// A start that failed leaves nothing on the host that was not there
    /// before: no address, and in the store what it found.
    fn take_back_start(&mut self, placed: &[(IpAddr, String)], draft: &Draft) {
        self.remove_vips(placed);
        if !draft.is_no_change(&self.state)
            && let Err(error) = self.parts.store.save(&self.state, draft.now)
        {
            tracing::warn!("the state keeps what could not be put in force: {error}");
        }
    }

    /// Works until [`super::Handle::stop`], or until nobody can ask any more.
    pub fn run(mut self) {
        loop {
            match self.inbox.messages.recv_timeout(self.wait()) {
                Ok(message) => self.backlog.push_back(message),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if !self.step() {
                break;
            }
        }
        if self.trouble.store_behind {
            self.retry(self.parts.clock.now());
        }
    }

    /// Answers what was asked so far and does what is due. False once it was
    /// told to stop.
    pub fn step(&mut self) -> bool {
        for _ in 0..BATCH {
            self.backlog.extend(self.inbox.messages.try_iter());
            match self.backlog.pop_front() {
                None => break,
                Some(Message::Request { by, request }) => match *request {
                    Request::ReportHealth(report) => {
                        let reports = self.more_reports(report);
                        self.report_health(reports);
                    }
                    request => self.answer(&by, request),
                },
                Some(Message::Dataplane(event)) => self.hear(event),
                Some(Message::Stop) => return false,
            }
        }
        self.tick();
        true
    }

    /// `first`, and the reports that wait right behind it.
    fn more_reports(&mut self, first: Report) -> Vec<Report> {
        let mut reports = vec![first];
        while let Some(message) = self.backlog.pop_front() {
            match message {
                Message::Request { by, request } => match *request {
                    Request::ReportHealth(report) => reports.push(report),
                    request => {
                        let request = Box::new(request);
                        self.backlog.push_front(Message::Request { by, request });
                        break;
                    }
                },
                other => {
                    self.backlog.push_front(other);
                    break;
                }
            }
        }
        reports
    }

    /// Tells the health checks whom to check from now on.
    fn publish_roster(&self) {
        let roster = self.state.roster();
        self.inbox.roster.send_if_modified(|known| {
            let news = **known != roster;
            if news {
                *known = Arc::new(roster);
            }
            news
        });
    }

    /// The state in force, for tests.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// How long nothing is due.
    fn wait(&self) -> Duration {
        if !self.backlog.is_empty() {
            return Duration::ZERO;
        }
        let now = self.parts.clock.now().moment;
        let next_look = self.next_look().map(|moment| moment.since(now));
        let retry = self.trouble.any().then_some(RETRY);
        let held = self.holds_vips().then_some(HELD);
        [next_look, retry, held, Some(IDLE)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(IDLE)
    }

    /// When a drain is to be looked at: every now and then, and on its
    /// deadline.
    fn next_look(&self) -> Option<Moment> {
        self.state
            .backends()
            .filter(|(_, _, backend)| backend.life.is_draining())
            .filter_map(|(_, _, backend)| backend.life.drain())
            .map(|drain| {
                let (usual, deadline) = (self.looked + POLL, drain.deadline());
                if deadline > self.looked {
                    deadline.min(usual)
                } else {
                    usual
                }
            })
            .min()
    }

    fn tick(&mut self) {
        let now = self.parts.clock.now();
        if self.trouble.any() && now.moment >= self.trouble.retried + RETRY {
            self.retry(now);
            for event in std::mem::take(&mut self.trouble.unheard) {
                self.hear(event);
            }
        }
        let looking = self.next_look().is_some_and(|moment| now.moment >= moment);
        let forgetting = self
            .state
            .backends()
            .any(|(_, _, backend)| backend.life.forgettable(now.moment));
        if looking || forgetting {
            self.look_at_drains(None, "agent");
        }
        if self.holds_vips() && now.moment >= self.held_looked + HELD {
            self.held_looked = now.moment;
            self.release_vips();
        }
    }

    pub(super) fn draft(&self) -> Draft {
        Draft::new(&self.state, self.parts.clock.now(), self.sizes)
    }

    /// Makes the draft the state: checked, stored, in force, said.
    pub(super) fn commit(&mut self, draft: Draft, by: &str) -> Result<(), Error> {
        self.make_state(draft, by, true)
    }

    /// Makes the draft the state even if it cannot be stored now. For what
    /// nobody asked for: a deadline, the end of a flow, a server's ill health
    /// do not wait for a full disk. After a crash they would be found again.
    /// False if the kernel refused.
    pub(super) fn commit_anyway(&mut self, draft: Draft, by: &str) -> bool {
        let now = draft.now;
        match self.make_state(draft, by, false) {
            Ok(()) => true,
            Err(error) => {
                self.complain(&error.message(), now);
                false
            }
        }
    }

    fn make_state(&mut self, mut draft: Draft, by: &str, stored: bool) -> Result<(), Error> {
        draft.settle();
        if draft.is_no_change(&self.state) {
            return Ok(());
        }
        draft.validate()?;
        let added = self.place_vips(&self.state.wanted_vips(), &mut draft.state)?;
        let view = draft.state.view(&self.ways);
        let changes = plan(&self.view, &view);
        self.parts.dataplane.check(&changes)?;

        let saved = self.parts.store.save(&draft.state, draft.now);
        let behind = saved.is_err();
        if let Err(error) = saved {
            // It may be there all the same: what is in force must follow it.
            self.trouble.store_behind = true;
            if stored {
                return Err(Error::Store(error));
            }
            self.complain(&error.to_string(), draft.now);
        }
        if let Err(error) = self.put_in_force(&added, &changes) {
            self.take_back(&added, draft.now);
            return Err(error);
        }
        self.trouble.store_behind = behind;
        let before = std::mem::replace(&mut self.view, view);
        self.state = draft.state;
        self.ways
            .retain(|index, _| self.view.backends.contains_key(index));
        self.progress
            .retain(|index, _| self.view.backends.contains_key(index));
        self.say(draft.notes, by, draft.now);
        self.say_service(&before, by, draft.now);
        self.tidy_vips();
        self.publish_roster();
        Ok(())
    }

    fn put_in_force(
        &mut self,
        added: &[(IpAddr, String)],
        changes: &[Change],
    ) -> Result<(), Error> {
        if let Some(keeper) = &mut self.parts.vips {
            for (address, interface) in added {
                keeper.add(*address, interface).map_err(Error::Vip)?;
            }
        }
        if !changes.is_empty() {
            self.parts.dataplane.apply(changes)?;
        }
        Ok(())
    }

    /// The kernel has refused: everything goes back to the state in force.
    fn take_back(&mut self, added: &[(IpAddr, String)], now: Now) {
        self.remove_vips(added);
        self.trouble.store_behind = true;
        self.trouble.kernel_behind = true;
        self.retry(now);
    }

    /// Brings the store and the kernel back to the state in force.
    fn retry(&mut self, now: Now) {
        self.trouble.retried = now.moment;
        if self.trouble.store_behind {
            match self.parts.store.save(&self.state, now) {
                Ok(()) => self.trouble.store_behind = false,
                Err(error) => self.complain(&error.to_string(), now),
            }
        }
        if self.trouble.kernel_behind {
            match self.parts.dataplane.reconcile(&self.view) {
                Ok(()) => self.trouble.kernel_behind = false,
                Err(error) => self.complain(&error.to_string(), now),
            }
        }
        if !self.trouble.any() && self.trouble.said.take().is_some() {
            tracing::info!("the store and the kernel agree with the state again");
        }
    }

    /// Logs a failure that is tried again, but not at every try.
    pub(super) fn complain(&mut self, text: &str, now: Now) {
        let fresh = self
            .trouble
            .said
            .as_ref()
            .is_none_or(|(said, when)| said != text || now.moment >= *when + COMPLAIN);
        if fresh {
            tracing::error!("{text}; trying again");
            self.trouble.said = Some((text.to_owned(), now.moment));
        }
    }

    /// Reads what ties clients to draining backends (all, or those named) and
    /// ends the drains that are over; what begins or ends by it does so in the
    /// name of `by`.
    pub(super) fn look_at_drains(&mut self, only: Option<(&str, &[BackendId])>, by: &str) {
        let mut draft = self.draft();
        let now = draft.now;
        if only.is_none() {
            self.looked = now.moment;
        }
        // The kernel must know of a drain before its ties mean anything.
        if self.trouble.kernel_behind {
            return;
        }
        let draining: Vec<(LbName, BackendId, BackendIndex)> = self
            .state
            .backends()
            .filter(|(_, _, backend)| backend.life.is_draining())
            .filter(|(lb, id, _)| {
                only.is_none_or(|(name, ids)| lb.as_str() == name && ids.contains(id))
            })
            .filter_map(|(lb, id, backend)| Some((lb.clone(), id.clone(), backend.index?)))
            .collect();
        let mut progress = Vec::new();
        for (lb, id, index) in draining {
            match self.parts.dataplane.ties(index) {
                Ok(ties) => {
                    draft.poll(&lb, &id, ties);
                    progress.extend(self.progress(&draft, &lb, &id, index, ties));
                }
                Err(error) => self.complain(&error.to_string(), now),
            }
        }
        self.say(progress, by, now);
        self.commit_anyway(draft, by);
    }

    /// What is to be said of a drain that goes on, if it is time to.
    fn progress(
        &mut self,
        draft: &Draft,
        lb: &LbName,
        id: &BackendId,
        index: BackendIndex,
        ties: Ties,
    ) -> Option<Note> {
        let now = draft.now.moment;
        let (_, backend) = draft.state.backend(lb.as_str(), id.as_str()).ok()?;
        let drain = backend
            .life
            .drain()
            .filter(|_| backend.life.is_draining())?;
        let said = self.progress.entry(index).or_insert(drain.since);
        if now < *said + PROGRESS {
            return None;
        }
        *said = now;
        Some(Note {
            lb: lb.clone(),
            backend: Some(id.clone()),
            what: What::DrainProgress {
                flows_left: ties.flows,
                seconds_left: drain.seconds_left(now),
            },
        })
    }

    /// What the data plane has to say.
    fn hear(&mut self, event: dataplane::Event) {
        let mut draft = self.draft();
        match event {
            dataplane::Event::Closed {
                backend,
                epoch,
                flows,
            } => {
                draft.closed(backend, epoch, flows);
                if !self.commit_anyway(draft, "agent") {
                    // It is said only once.
                    self.trouble.unheard.push(event);
                }
            }
            // Nobody waits for it, and after a restart it is asked for again:
            // the next save is soon enough.
            dataplane::Event::Forgotten(index) => {
                self.state.retired.remove(&index);
            }
            dataplane::Event::NextHop { backend, way } => self.hear_of_way(backend, way),
            dataplane::Event::BooksDiffer {
                backend,
                counted,
                found,
            } => {
                self.books_differ += 1;
                let note = self.note(backend, What::BooksDiffer { counted, found });
                self.say(note.into_iter().collect(), "agent", draft.now);
            }
        }
    }

    fn hear_of_way(&mut self, index: BackendIndex, way: Result<NextHop, String>) {
        let now = self.parts.clock.now();
        if self.ways.get(&index) == Some(&way) {
            return;
        }
        let what = match way.clone() {
            Ok(hop) => What::NextHopKnown {
                interface: hop.interface,
                mac: hop.mac,
            },
            Err(reason) => What::NextHopLost { reason },
        };
        // The event may have been under way when the backend was removed.
        let Some(note) = self.note(index, what) else {
            return;
        };
        self.ways.insert(index, way);
        self.say(vec![note], "agent", now);
        let view = self.state.view(&self.ways);
        let changes = plan(&self.view, &view);
        if changes.is_empty() {
            return;
        }
        let before = std::mem::replace(&mut self.view, view);
        if let Err(error) = self.parts.dataplane.apply(&changes) {
            // The view is right; the kernel must follow.
            self.trouble.kernel_behind = true;
            self.complain(&error.to_string(), now);
        }
        self.say_service(&before, "agent", now);
    }

    fn note(&self, index: BackendIndex, what: What) -> Option<Note> {
        let (lb, id, _) = self.state.by_index(index)?;
        Some(Note {
            lb: lb.clone(),
            backend: Some(id.clone()),
            what,
        })
    }

    /// What the data plane has said by now, before an answer goes out.
    pub(super) fn hear_pending(&mut self) {
        self.backlog.extend(self.inbox.messages.try_iter());
        for message in std::mem::take(&mut self.backlog) {
            match message {
                Message::Dataplane(event) => self.hear(event),
                other => self.backlog.push_back(other),
            }
        }
    }

    /// Which backends came into service with the view in force, and which
    /// went out of it while registered.
    fn say_service(&mut self, before: &View, by: &str, now: Now) {
        let mut notes = Vec::new();
        for (index, after) in &self.view.backends {
            let took = before.backends.get(index).is_some_and(|b| b.takes_new);
            if took == after.takes_new {
                continue;
            }
            let Some((lb, id, backend)) = self.state.by_index(*index) else {
                continue;
            };
            let what = if after.takes_new {
                What::InService
            } else if !backend.life.is_registered() {
                continue;
            } else if let (true, Some(Err(reason))) =
                (backend.life.takes_new(), self.ways.get(index))
            {
                What::OutOfService {
                    reason: reason.clone(),
                }
            } else {
                What::OutOfService {
                    reason: backend.life.described().description.to_owned(),
                }
            };
            notes.push(Note {
                lb: lb.clone(),
                backend: Some(id.clone()),
                what,
            });
        }
        self.say(notes, by, now);
    }

    fn say(&mut self, notes: Vec<Note>, by: &str, now: Now) {
        for Note { lb, backend, what } in notes {
            self.events += 1;
            let event = Event {
                number: self.events,
                time: now.wall.to_string(),
                by: by.to_owned(),
                load_balancer: lb.into(),
                backend: backend.map(String::from),
                what,
            };
            match &event.what {
                What::DrainProgress { .. } => tracing::debug!("{event}"),
                What::BooksDiffer { .. } | What::NextHopLost { .. } => tracing::warn!("{event}"),
                _ if by == "agent" => tracing::info!("{event}"),
                // Who did what: for those who must know it later.
                _ => tracing::info!(target: "audit", by, "{event}"),
            }
            // Nobody may be listening.
            drop(self.inbox.events.send(Arc::new(event)));
        }
    }
}

impl Trouble {
    fn any(&self) -> bool {
        self.store_behind || self.kernel_behind || !self.unheard.is_empty()
    }

    /// What an operator should know of it.
    pub(super) fn warning(&self) -> Option<String> {
        self.said.as_ref().map(|(said, _)| said.clone())
    }
}

/// Makes in the draft what a document declares, and says what that is.
pub(super) fn declared(
    draft: &mut Draft,
    state: &State,
    declare: &Declare,
) -> Result<Vec<Edit>, Error> {
    let Declare {
        source,
        document,
        reading,
        ..
    } = declare;
    let mut make = || {
        let edits = merge(state, source, &document.declaration, *reading)?;
        for edit in &edits {
            edit.make(draft)?;
        }
        draft.validate()?;
        draft
            .state
            .declared
            .insert(source.clone(), document.declaration.clone());
        Ok(edits)
    };
    make().map_err(|error: Error| match error.load_balancer() {
        Some(lb) => {
            let diagnostic = document.diagnose(lb, error.message(), error.hint());
            Error::Document(vec![diagnostic])
        }
        None => error,
    })
}
