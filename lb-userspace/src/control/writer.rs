//! The sole writer: the thread that owns the state and the data plane.
//!
//! Every change takes the same way: by [`super::edit`] to the next state, and
//! by [`super::commit`] into the store, into the kernel, and to those who
//! listen.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    sync::mpsc::RecvTimeoutError,
    time::Duration,
};

use super::{
    command::Command,
    edit::{Draft, Ready},
    error::Error,
    guard::{self, Guard},
    handle::{Declare, Inbox, Message, Report, Request},
    index::Index,
    merge::{Edit, merge},
    plan::plan,
    view,
    vip::{VipError, VipKeeper},
};
use crate::{
    clock::{Clock, Moment, Now},
    dataplane::{self, Change, Dataplane, View},
    model::{BackendIndex, Roster, TableSizes},
    state::State,
    store::{Store, Sure},
};

/// How often a drain is looked at: well within P3's second.
const POLL: Duration = Duration::from_millis(100);
/// How often what failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How often the addresses of removed listeners are looked after.
const HELD: Duration = Duration::from_secs(10);
/// How long there may be nothing to do at all.
const IDLE: Duration = Duration::from_secs(60);
/// How many requests are answered before the timers have their turn.
const BATCH: usize = 64;
/// How many changes go before one who only looks.
const PASSED_OVER: u32 = 64;
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
    pub(super) backlog: VecDeque<Message>,
    /// How many have gone before the first of the backlog.
    passed_over: u32,
    pub(super) parts: Parts,
    pub(super) started: Now,
    pub(super) state: State,
    /// The same state, by what is asked of it at every turn.
    pub(super) index: Index,
    /// Whom the health checks are to check.
    pub(super) roster: Roster,
    /// VIPs that are on an interface because of us, and that nobody wants.
    pub(super) unwanted: BTreeSet<IpAddr>,
    /// What there is room for.
    pub(super) sizes: TableSizes,
    pub(super) events: u64,
    pub(super) books_differ: u64,
    pub(super) looked: Moment,
    held_looked: Moment,
    /// When the progress of a drain was said last.
    pub(super) progress: BTreeMap<BackendIndex, Moment>,
    pub(super) trouble: Trouble,
    pub(super) guard: Guard,
}

/// What went wrong behind the scenes and is tried again.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    /// The store has another state than the one in force.
    pub(super) store_behind: bool,
    /// The kernel may have.
    pub(super) kernel_behind: bool,
    /// What the data plane said, and what could not be made of it.
    pub(super) unheard: Vec<dataplane::Event>,
    pub(super) retried: Moment,
    pub(super) said: Option<(String, Moment)>,
    /// Why the configuration file was not taken when it was read last.
    pub(super) file: Option<String>,
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
        let state = state.unwrap_or_default();
        let sizes = parts.dataplane.sizes();
        let mut control = Self {
            inbox,
            backlog: VecDeque::new(),
            passed_over: 0,
            parts,
            started: now,
            index: Index::of(&state),
            roster: Roster::default(),
            unwanted: BTreeSet::new(),
            state,
            sizes,
            events: 0,
            books_differ: 0,
            looked: now.moment,
            held_looked: now.moment,
            progress: BTreeMap::new(),
            trouble: Trouble::default(),
            guard: Guard::new(now.moment),
        };
        control.begin(file)?;
        Ok(control)
    }

    fn begin(&mut self, file: Option<Declare>) -> Result<(), Error> {
        let mut draft = self.draft();
        if let Some(declare) = file {
            declared(&mut draft, &self.state, &self.index, &declare)?;
        }
        if self.parts.vips.is_none() {
            let ours = &self.state.node.vips;
            for (address, interface) in ours.iter() {
                tracing::info!("{address} stays on {interface}: VIPs are not managed any more");
            }
            draft.make(Command::Displaced(ours.keys().copied().collect()))?;
        }
        draft.check(&self.index)?;
        // After a reboot, or a change of hands, an address may be gone.
        let state = draft.state();
        let placed = match self.place_vips(state.wanted_vips(), &state.node.vips) {
            // An interface that comes later gets its addresses then.
            Err(VipError::NoInterface { .. }) => BTreeMap::new(),
            placed => placed.map_err(Error::Vip)?,
        };
        draft.make(Command::Placed(placed.clone()))?;
        let ready = draft.finish(&self.state, &self.index)?;
        let view = view::whole(ready.state());
        self.parts.dataplane.check(&plan(&View::default(), &view))?;
        let news = *ready.state() != self.state;
        if let Err(error) = self
            .parts
            .store
            .save(ready.state(), ready.now(), Sure::OnDisk)
        {
            // With nothing new to remember, a full disk is no reason to leave
            // the kernel alone.
            if news {
                return Err(Error::Store(error));
            }
            self.trouble.store_behind = true;
            self.complain(&error.to_string(), ready.now());
        }
        if let Err(error) = self.begin_in_force(ready.state(), &view) {
            self.take_back_start(&placed, news, ready.now());
            return Err(error);
        }
        let before = view::whole(&self.state);
        let Ready {
            state, now, notes, ..
        } = ready;
        self.index = Index::of(&state);
        self.unwanted = state
            .node
            .vips
            .keys()
            .copied()
            .filter(|vip| !self.index.wants(*vip))
            .collect();
        self.state = state;
        self.say(notes, "agent", now);
        self.say_service(&before, &view, "agent", now);
        self.tidy_vips();
        let all = self.state.desired.load_balancers.keys().cloned().collect();
        self.publish_roster(&all);
        // What fell due while no agent was there.
        self.look_at_drains(None, "agent");
        // What could not be put anywhere.
        self.look_after_vips(self.parts.clock.now());
        tracing::info!(
            load_balancers = self.state.desired.load_balancers.len(),
            backends = view.backends.len(),
            "in force"
        );
        Ok(())
    }

    /// Puts a whole state in force.
    fn begin_in_force(&mut self, state: &State, view: &View) -> Result<(), Error> {
        let wanted = state.wanted_vips();
        for (address, interface) in state.node.vips.iter() {
            if let Some(keeper) = &mut self.parts.vips
                && wanted.contains(address)
            {
                match keeper.add(*address, interface) {
                    Err(VipError::NoInterface { .. }) => {}
                    added => added.map_err(Error::Vip)?,
                }
            }
        }
        self.parts.dataplane.reconcile(view)?;
        // What was asked for before and has not been answered.
        let forget = state.node.retired.iter().copied();
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
    fn take_back_start(&mut self, placed: &BTreeMap<IpAddr, String>, news: bool, now: Now) {
        self.remove_vips(placed);
        if news && let Err(error) = self.parts.store.save(&self.state, now, Sure::OnDisk) {
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
            match self.next_message() {
                None => break,
                Some(Message::Request { by, request }) => match *request {
                    Request::ReportHealth(report) => {
                        let reports = self.more_reports(report);
                        self.report_health(reports);
                    }
                    request => {
                        let reads = request.reads();
                        self.answer(&by, request);
                        // It may have taken a while: a timer may be due.
                        if reads {
                            break;
                        }
                    }
                },
                Some(Message::Dataplane(event)) => {
                    let events = self.more_events(event);
                    self.hear(events);
                }
                Some(Message::Stop) => return false,
            }
        }
        self.tick();
        true
    }

    /// What is to be done next: the changes and news first, but now and then one of
    /// those that only look, however many changes there are.
    fn next_message(&mut self) -> Option<Message> {
        let urgent = self.backlog.iter().position(|message| !message.can_wait());
        match urgent {
            Some(place) if place == 0 || self.passed_over < PASSED_OVER => {
                self.passed_over = if place == 0 { 0 } else { self.passed_over + 1 };
                self.backlog.remove(place)
            }
            _ => {
                self.passed_over = 0;
                self.backlog.pop_front()
            }
        }
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

    /// `first`, and the events that wait right behind it.
    fn more_events(&mut self, first: dataplane::Event) -> Vec<dataplane::Event> {
        let mut events = vec![first];
        while let Some(message) = self.backlog.pop_front() {
            match message {
                Message::Dataplane(event) => events.push(event),
                other => {
                    self.backlog.push_front(other);
                    break;
                }
            }
        }
        events
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
        let held = (!self.index.holding().is_empty()).then_some(HELD);
        let guard = self.guards().then_some(guard::LISTEN);
        [next_look, retry, held, guard, Some(IDLE)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(IDLE)
    }

    /// When a drain is to be looked at: every now and then, and on its
    /// deadline.
    fn next_look(&self) -> Option<Moment> {
        let usual = self.looked + POLL;
        self.index
            .draining()
            .map(|(_, _, draining)| draining.deadline)
            .map(|deadline| {
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
            let unheard = std::mem::take(&mut self.trouble.unheard);
            self.hear(unheard);
        }
        let looking = self.next_look().is_some_and(|moment| now.moment >= moment);
        let forgetting = self.index.forgettable(now.moment).next().is_some();
        if looking || forgetting {
            self.look_at_drains(None, "agent");
        }
        if !self.index.holding().is_empty() && now.moment >= self.held_looked + HELD {
            self.held_looked = now.moment;
            self.release_vips();
        }
        self.guard_vips(now);
    }

    pub(super) fn draft(&self) -> Draft {
        Draft::new(&self.state, self.parts.clock.now(), self.sizes)
    }
}

impl Trouble {
    pub(super) fn any(&self) -> bool {
        self.store_behind || self.kernel_behind || !self.unheard.is_empty()
    }

    /// What an operator should know of it.
    pub(super) fn warnings(&self) -> impl Iterator<Item = String> {
        let said = self.said.as_ref().map(|(said, _)| said.clone());
        let file = self.file.as_ref().map(|why| {
            format!(
                "the last reload was refused, and what was in force before it still is: {why}; \
                 `ebb check-config` says all that is wrong with a file"
            )
        });
        said.into_iter().chain(file)
    }
}

/// Makes in the draft what a document declares, and says what that is.
pub(super) fn declared(
    draft: &mut Draft,
    state: &State,
    index: &Index,
    declare: &Declare,
) -> Result<Vec<Edit>, Error> {
    let Declare {
        source,
        document,
        reading,
        ..
    } = declare;
    let mut make = || {
        let declaration = &document.declaration;
        let edits = merge(state, source, declaration, *reading)?;
        for edit in &edits {
            edit.make(draft)?;
        }
        draft.check(index)?;
        draft.make(Command::Declared(source.clone(), declaration.clone()))?;
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
