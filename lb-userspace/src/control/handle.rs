//! The way in: what every door (admin API, ELB API, health, signals) holds.
//!
//! A [`Handle`] sends requests to the control thread and awaits the answers.
//! An answer means: on disk and in force in the kernel.

use std::{
    net::IpAddr,
    sync::{Arc, mpsc},
};

use tokio::sync::{broadcast, oneshot, watch};

use super::{
    error::{Error, Kind},
    hook_tally::{HookTally, Tallies},
    merge::Reading,
};
use crate::{
    config::{Document, Purpose},
    dataplane,
    health::{Board, NotTaken, Reports},
    model::{HealthReport, Key, Protocol, Room, Roster},
    wire::{
        Applied, Apply, Attributes, AttributesPatch, Backend, Deleted, Deregister, Event, FlowSort,
        Flows, HealthByHand, HealthCheck, Listener, LoadBalancer, NewBackend, NewLoadBalancer,
        Status,
    },
};

/// Which flows, and how many of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlowQuery {
    /// Only those of this backend.
    pub backend: Option<String>,
    pub sort: FlowSort,
    /// At most that many; `None` is the server's own limit.
    pub limit: Option<usize>,
}

/// Where an answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Error>>;

/// A question and where its answer goes.
#[derive(Debug)]
pub enum Request {
    Status(Reply<Status>),
    Measure(Reply<Measured>),
    Room(Reply<[Room; 3]>),
    LoadBalancers(Reply<Vec<LoadBalancer>>),
    LoadBalancer(String, Reply<LoadBalancer>),
    CreateLoadBalancer(NewLoadBalancer, Reply<LoadBalancer>),
    DeleteLoadBalancer(String, Deregister, Reply<Deleted>),
    AddListeners(String, Vec<Listener>, Reply<LoadBalancer>),
    RemoveListeners(String, Vec<(Protocol, IpAddr, u16)>, Reply<LoadBalancer>),
    Backends(String, Reply<Vec<Backend>>),
    Backend(String, String, Reply<Backend>),
    Register(String, Vec<NewBackend>, Reply<Vec<Backend>>),
    Deregister(String, Vec<String>, Deregister, Reply<Vec<Backend>>),
    SetHealth(String, String, HealthByHand, Reply<Backend>),
    ReportHealth(Report),
    Attributes(String, Reply<Attributes>),
    SetAttributes(String, AttributesPatch, Reply<Attributes>),
    HealthCheck(String, Reply<Option<HealthCheck>>),
    SetHealthCheck(String, Option<HealthCheck>, Reply<Option<HealthCheck>>),
    KeepElb(String, serde_json::Value, Reply<()>),
    Flows(String, FlowQuery, Reply<Flows>),
    Declare(Box<Declare>, Reply<Applied>),
    /// The configuration file could not even be read: why.
    Unreadable(String, Reply<()>),
}

impl Request {
    /// Whether it changes nothing, and may cost as much as there are load balancers,
    /// backends or flows.
    #[must_use]
    pub fn reads(&self) -> bool {
        match self {
            Self::Status(_)
            | Self::Measure(_)
            | Self::Room(_)
            | Self::LoadBalancers(_)
            | Self::LoadBalancer(..)
            | Self::Backends(..)
            | Self::Backend(..)
            | Self::Attributes(..)
            | Self::HealthCheck(..)
            | Self::Flows(..) => true,
            Self::CreateLoadBalancer(..)
            | Self::DeleteLoadBalancer(..)
            | Self::AddListeners(..)
            | Self::RemoveListeners(..)
            | Self::Register(..)
            | Self::Deregister(..)
            | Self::SetHealth(..)
            | Self::ReportHealth(_)
            | Self::SetAttributes(..)
            | Self::SetHealthCheck(..)
            | Self::KeepElb(..)
            | Self::Declare(..)
            | Self::Unreadable(..) => false,
        }
    }
}

/// One look at the agent, for metrics.
#[derive(Debug, Clone)]
pub struct Measured {
    pub status: Status,
    pub load_balancers: Vec<LoadBalancer>,
    pub gauges: dataplane::Gauges,
    /// Times that the books did not balance (P9).
    pub books_differ: u64,
    /// The store has another state than the one in force.
    pub store_behind: bool,
    /// The kernel may have.
    pub kernel_behind: bool,
    pub hooks: Vec<HookTally>,
}

/// What a check found, of whom.
#[derive(Debug)]
pub struct Report {
    pub lb: String,
    pub id: String,
    pub report: HealthReport,
    pub reply: Reply<()>,
}

/// A valid document that is to be made so.
#[derive(Debug)]
pub struct Declare {
    pub source: String,
    pub document: Document,
    pub reading: Reading,
    pub dry_run: bool,
}

/// Everything that can wake the control thread.
#[derive(Debug)]
pub enum Message {
    Request { by: Arc<str>, request: Box<Request> },
    Dataplane(dataplane::Event),
    Stop,
}

impl Message {
    /// Whether changes and news that came after it go first: those who only look are
    /// not to keep a deregistration waiting. To stop is the last that is done.
    #[must_use]
    pub fn can_wait(&self) -> bool {
        match self {
            Self::Request { request, .. } => request.reads(),
            Self::Dataplane(_) => false,
            Self::Stop => true,
        }
    }
}

/// Cheap to clone. Requests are carried out one after the other, changes in the order
/// in which they were sent; one that changes nothing may see changes that were sent
/// after it.
#[derive(Debug, Clone)]
pub struct Handle {
    messages: mpsc::Sender<Message>,
    events: broadcast::Sender<Arc<Event>>,
    roster: watch::Receiver<Arc<Roster>>,
    board: Board,
    hooks: Tallies,
    by: Arc<str>,
}

/// The other end of a [`Handle`]: what the control thread reads.
#[derive(Debug)]
pub struct Inbox {
    pub messages: mpsc::Receiver<Message>,
    pub events: broadcast::Sender<Arc<Event>>,
    /// Whom the health checks are to check.
    pub roster: watch::Sender<Arc<Roster>>,
    /// What they found last.
    pub board: Board,
}

/// How many events a slow listener may lag behind before it misses some.
const EVENTS_KEPT: usize = 4096;

/// A handle, and the inbox to build a control thread on.
#[must_use]
pub fn channel() -> (Handle, Inbox) {
    let (sender, messages) = mpsc::channel();
    let (events, _) = broadcast::channel(EVENTS_KEPT);
    let (roster, wanted) = watch::channel(Arc::default());
    let board = Board::default();
    let handle = Handle {
        messages: sender,
        events: events.clone(),
        roster: wanted,
        board: board.clone(),
        hooks: Tallies::default(),
        by: "agent".into(),
    };
    let inbox = Inbox {
        messages,
        events,
        roster,
        board,
    };
    (handle, inbox)
}

impl Handle {
    /// The same handle, with every request in the name of `who`: the audit
    /// line's and the events' `by`.
    #[must_use]
    pub fn by(&self, who: &str) -> Self {
        Self {
            by: who.into(),
            ..self.clone()
        }
    }

    /// Where the data plane says what it has to say by itself.
    #[must_use]
    pub fn dataplane_events(&self) -> dataplane::EventSink {
        let messages = self.messages.clone();
        // A control thread that is gone has no use for it.
        Arc::new(move |event| drop(messages.send(Message::Dataplane(event))))
    }

    /// Everything that happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    /// Whom to check, from now on.
    #[must_use]
    pub fn roster(&self) -> watch::Receiver<Arc<Roster>> {
        self.roster.clone()
    }

    /// Where the health checks post what they found.
    #[must_use]
    pub fn board(&self) -> Board {
        self.board.clone()
    }

    /// Ends the control thread after the requests sent so far. The packets go
    /// on being forwarded.
    pub fn stop(&self) {
        drop(self.messages.send(Message::Stop));
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Request {
            by: Arc::clone(&self.by),
            request: Box::new(request(reply)),
        };
        self.messages.send(message).map_err(|_| Error::Stopping)?;
        answer.await.map_err(|_| Error::Stopping)?
    }

    /// # Errors
    /// [`Error::Dataplane`], [`Error::Stopping`].
    pub async fn status(&self) -> Result<Status, Error> {
        self.ask(Request::Status).await
    }

    /// One look at everything that metrics show.
    ///
    /// # Errors
    /// [`Error::Dataplane`], [`Error::Stopping`].
    pub async fn measure(&self) -> Result<Measured, Error> {
        let mut measured = self.ask(Request::Measure).await?;
        measured.hooks = self.hooks.all();
        Ok(measured)
    }

    /// How much of each table is taken.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn room(&self) -> Result<[Room; 3], Error> {
        self.ask(Request::Room).await
    }

    /// What becomes of the events that hooks want.
    #[must_use]
    pub fn hook_tallies(&self) -> Tallies {
        self.hooks.clone()
    }

    /// Sorted by name.
    ///
    /// # Errors
    /// [`Error::Dataplane`], [`Error::Stopping`].
    pub async fn load_balancers(&self) -> Result<Vec<LoadBalancer>, Error> {
        self.ask(Request::LoadBalancers).await
    }

    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub async fn load_balancer(&self, lb: &str) -> Result<LoadBalancer, Error> {
        self.ask(|reply| Request::LoadBalancer(lb.to_owned(), reply))
            .await
    }

    /// # Errors
    /// [`Error::LoadBalancerExists`], [`Error::Invalid`].
    pub async fn create_load_balancer(&self, new: NewLoadBalancer) -> Result<LoadBalancer, Error> {
        self.ask(|reply| Request::CreateLoadBalancer(new, reply))
            .await
    }

    /// Takes the listeners away at once and deregisters every backend as
    /// `how` says. The load balancer is gone when the last of them is.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::Invalid`] for a timeout.
    pub async fn delete_load_balancer(&self, lb: &str, how: Deregister) -> Result<Deleted, Error> {
        self.ask(|reply| Request::DeleteLoadBalancer(lb.to_owned(), how, reply))
            .await
    }

    /// All of them or none. One that is there already, with the same backend
    /// port, is no error.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::Invalid`].
    pub async fn add_listeners(
        &self,
        lb: &str,
        listeners: Vec<Listener>,
    ) -> Result<LoadBalancer, Error> {
        self.ask(|reply| Request::AddListeners(lb.to_owned(), listeners, reply))
            .await
    }

    /// All of them or none. Open flows go on.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchListener`].
    pub async fn remove_listeners(
        &self,
        lb: &str,
        listeners: Vec<(Protocol, IpAddr, u16)>,
    ) -> Result<LoadBalancer, Error> {
        self.ask(|reply| Request::RemoveListeners(lb.to_owned(), listeners, reply))
            .await
    }

    /// Registered, draining and closing ones, sorted by id.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub async fn backends(&self, lb: &str) -> Result<Vec<Backend>, Error> {
        self.ask(|reply| Request::Backends(lb.to_owned(), reply))
            .await
    }

    /// One backend; for an hour after it is gone too.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`].
    pub async fn backend(&self, lb: &str, id: &str) -> Result<Backend, Error> {
        self.ask(|reply| Request::Backend(lb.to_owned(), id.to_owned(), reply))
            .await
    }

    /// Registers a backend, cancels its drain, or changes its weight.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::OtherAddress`],
    /// [`Error::Invalid`].
    pub async fn register(&self, lb: &str, new: NewBackend) -> Result<Backend, Error> {
        let mut backends = self.register_all(lb, vec![new]).await?;
        backends.pop().ok_or(Error::Stopping)
    }

    /// [`Handle::register`] for several: all of them or none. Answers in the
    /// order asked.
    ///
    /// # Errors
    /// As [`Handle::register`].
    pub async fn register_all(
        &self,
        lb: &str,
        new: Vec<NewBackend>,
    ) -> Result<Vec<Backend>, Error> {
        self.ask(|reply| Request::Register(lb.to_owned(), new, reply))
            .await
    }

    /// From the answer on, no new flow reaches the backend (P1).
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`],
    /// [`Error::NotRegistered`], [`Error::Invalid`] for a timeout.
    pub async fn deregister(&self, lb: &str, id: &str, how: Deregister) -> Result<Backend, Error> {
        let mut backends = self.deregister_all(lb, vec![id.to_owned()], how).await?;
        backends.pop().ok_or(Error::Stopping)
    }

    /// [`Handle::deregister`] for several: all of them or none. Answers in the
    /// order asked.
    ///
    /// # Errors
    /// As [`Handle::deregister`].
    pub async fn deregister_all(
        &self,
        lb: &str,
        ids: Vec<String>,
        how: Deregister,
    ) -> Result<Vec<Backend>, Error> {
        self.ask(|reply| Request::Deregister(lb.to_owned(), ids, how, reply))
            .await
    }

    /// Overrides what health checks say, or stops doing so.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`],
    /// [`Error::NotRegistered`].
    pub async fn set_health(
        &self,
        lb: &str,
        id: &str,
        health: HealthByHand,
    ) -> Result<Backend, Error> {
        self.ask(|reply| Request::SetHealth(lb.to_owned(), id.to_owned(), health, reply))
            .await
    }

    /// What a health check found; control decides what follows.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`].
    pub async fn report_health(
        &self,
        lb: &str,
        id: &str,
        report: HealthReport,
    ) -> Result<(), Error> {
        self.ask(|reply| {
            Request::ReportHealth(Report {
                lb: lb.to_owned(),
                id: id.to_owned(),
                report,
                reply,
            })
        })
        .await
    }

    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub async fn attributes(&self, lb: &str) -> Result<Attributes, Error> {
        self.ask(|reply| Request::Attributes(lb.to_owned(), reply))
            .await
    }

    /// Drains that run already keep their deadlines.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::Invalid`].
    pub async fn set_attributes(
        &self,
        lb: &str,
        patch: AttributesPatch,
    ) -> Result<Attributes, Error> {
        self.ask(|reply| Request::SetAttributes(lb.to_owned(), patch, reply))
            .await
    }

    /// None: no check is made, and registered backends count as healthy.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub async fn health_check(&self, lb: &str) -> Result<Option<HealthCheck>, Error> {
        self.ask(|reply| Request::HealthCheck(lb.to_owned(), reply))
            .await
    }

    /// From now on every backend is checked like this, or none is. Whoever is
    /// in service stays so until the check has found otherwise. Answers with
    /// the check in force, its defaults filled in.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::Invalid`].
    pub async fn set_health_check(
        &self,
        lb: &str,
        check: Option<HealthCheck>,
    ) -> Result<Option<HealthCheck>, Error> {
        self.ask(|reply| Request::SetHealthCheck(lb.to_owned(), check, reply))
            .await
    }

    /// Keeps what the ELB API remembers of a load balancer, unread, until
    /// the load balancer is gone.
    ///
    /// # Errors
    /// [`Error::NoSuchLoadBalancer`].
    pub async fn keep_elb(&self, lb: &str, elb: serde_json::Value) -> Result<(), Error> {
        self.ask(|reply| Request::KeepElb(lb.to_owned(), elb, reply))
            .await
    }

    /// # Errors
    /// [`Error::NoSuchLoadBalancer`], [`Error::NoSuchBackend`],
    /// [`Error::Dataplane`].
    pub async fn flows(&self, lb: &str, query: FlowQuery) -> Result<Flows, Error> {
        self.ask(|reply| Request::Flows(lb.to_owned(), query, reply))
            .await
    }

    /// Makes it so, or says what that would change: [`Reading::Enforce`].
    ///
    /// # Errors
    /// [`Error::Document`] with everything that is wrong with it.
    pub async fn apply(&self, apply: Apply) -> Result<Applied, Error> {
        let source = apply.source.unwrap_or_else(|| "apply".to_owned());
        let document = Document::parse(&source, &apply.document, Purpose::Apply, None)
            .map_err(Error::Document)?;
        let declare = Declare {
            source,
            document,
            reading: Reading::Enforce,
            dry_run: apply.dry_run,
        };
        self.ask(|reply| Request::Declare(Box::new(declare), reply))
            .await
    }

    /// Applies what the configuration file says otherwise than the last time:
    /// [`Reading::Reload`].
    ///
    /// # Errors
    /// [`Error::Document`] for what cannot be done, with its line.
    pub async fn reload(&self, source: &str, document: Document) -> Result<Applied, Error> {
        let declare = Declare {
            source: source.to_owned(),
            document,
            reading: Reading::Reload,
            dry_run: false,
        };
        self.ask(|reply| Request::Declare(Box::new(declare), reply))
            .await
    }
}

impl Handle {
    /// The configuration file was to be read again and is not one: until there is a good
    /// one, the status warns of that.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn unreadable(&self, why: String) -> Result<(), Error> {
        self.ask(|reply| Request::Unreadable(why, reply)).await
    }
}

impl Reports for Handle {
    async fn report(&self, key: &Key, report: HealthReport) -> Result<(), NotTaken> {
        let (lb, backend) = (key.lb.as_str(), key.backend.as_str());
        match self.report_health(lb, backend, report).await {
            Ok(()) => Ok(()),
            Err(Error::NotRegistered { .. }) => Err(NotTaken::Gone),
            Err(error) if error.kind() == Kind::NotFound => Err(NotTaken::Gone),
            Err(error) => Err(NotTaken::Refused(error.message())),
        }
    }
}
