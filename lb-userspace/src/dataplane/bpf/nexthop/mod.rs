//! Finds the next hop of every backend and the routers to clients, and keeps them fresh.
//!
//! - [`resolver`]: what follows from routes, links and neighbours for backends, and
//!   [`routers`]: for the routers that lead to clients; [`ends`]: what is known of those
//!   neighbours, and whom to ask when; no I/O. They ask by [`kernel`].
//! - here: the thread that asks the kernel (rtnetlink), hears its notices, and
//!   writes what was found into the backends' rows.
//!
//! The kernel's own neighbour table does the asking (ARP, neighbour discovery):
//! a backend's entry there is *used* from time to time, as a packet to it would,
//! so that the kernel confirms it and notices when it is gone.

mod ends;
mod kernel;
mod resolver;
mod routers;

use std::{
    io::{self, PipeReader, PipeWriter, Read, Write},
    net::IpAddr,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing::{debug, error, info, warn};

use self::{
    resolver::{Resolver, Unreachable},
    routers::Routers,
};
use super::{adjacency::Adjacency, shared::Shared};
use crate::{
    dataplane::Event,
    model::{BackendIndex, NextHop, mac_text},
    netlink::{Link, Netlink, Notice, Notices},
};

enum Command {
    Watch(Vec<(BackendIndex, IpAddr)>),
    Forget(BackendIndex),
    Stop,
}

/// The resolver's thread. It ends when this is dropped.
pub(super) struct Handle {
    commands: mpsc::Sender<Command>,
    wake: PipeWriter,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// Finds next hops through `interfaces`, which the program is attached to.
    pub(super) fn start(shared: Arc<Shared>, interfaces: Vec<String>) -> io::Result<Self> {
        let (commands, inbox) = mpsc::channel();
        let (woken, wake) = io::pipe()?;
        // Opened here: threads started by a test see its network namespace, and
        // nothing is missed between this and the first look.
        let notices = Notices::of_all()?;
        let netlink = Netlink::open()?;
        let thread = thread::Builder::new()
            .name("ebb-nexthop".to_owned())
            .spawn(move || {
                let routers = Routers::recover(shared.state().routers());
                let worker = Worker {
                    shared,
                    inbox,
                    woken,
                    notices,
                    netlink,
                    resolver: Resolver::new(interfaces.clone()),
                    routers,
                    interfaces,
                    stale: Stale::default(),
                };
                worker.run();
            })?;
        Ok(Self {
            commands,
            wake,
            thread: Some(thread),
        })
    }

    /// Finds the next hops of these backends from now on.
    pub(super) fn watch(&self, backends: Vec<(BackendIndex, IpAddr)>) {
        if !backends.is_empty() {
            self.send(Command::Watch(backends));
        }
    }

    pub(super) fn forget(&self, backend: BackendIndex) {
        self.send(Command::Forget(backend));
    }

    fn send(&self, command: Command) {
        // The thread goes on until it is told to stop; without it there is
        // nobody to tell.
        if self.commands.send(command).is_ok() {
            let _ = (&self.wake).write_all(&[0]);
        }
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

struct Worker {
    shared: Arc<Shared>,
    inbox: mpsc::Receiver<Command>,
    woken: PipeReader,
    notices: Notices,
    netlink: Netlink,
    resolver: Resolver,
    routers: Routers,
    interfaces: Vec<String>,
    stale: Stale,
}

/// What is known to have changed and was not looked at yet.
#[derive(Default)]
struct Stale {
    links: bool,
    routes: bool,
    /// Not before this time: a host with many routes sends notices without end.
    not_before: Option<Instant>,
    /// When to look at links again that could not be served.
    retry: Option<Instant>,
}

/// How long the thread sleeps at most.
const TICK: Duration = Duration::from_millis(500);

/// What is told of the MAC address of a next hop that has none.
const NO_MAC: &str = "no MAC address";

/// How long it takes until an interface that could not be served is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// So many new backends are looked for at a time.
const AT_ONCE: usize = 256;

/// Looking at every route takes at most this share of the time.
const SHARE: u32 = 20;

impl Worker {
    fn run(mut self) {
        self.stale.links = true;
        loop {
            match self.turn() {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    // Of the socket itself; nothing that a backend does.
                    warn!(%error, "netlink failed; looking at everything again");
                    self.stale.links = true;
                    self.stale.not_before = Some(Instant::now() + TICK);
                }
            }
        }
    }

    /// Waits for something to do and does it; false when told to stop.
    fn turn(&mut self) -> io::Result<bool> {
        self.wait()?;
        loop {
            match self.inbox.try_recv() {
                Ok(Command::Watch(backends)) => {
                    // What the kernel notices meanwhile is heard in between.
                    for some in backends.chunks(AT_ONCE) {
                        let now = Instant::now();
                        self.resolver.watch(&mut self.netlink, some, now);
                        self.hear()?;
                    }
                }
                Ok(Command::Forget(backend)) => self.resolver.forget(backend),
                Ok(Command::Stop) | Err(mpsc::TryRecvError::Disconnected) => return Ok(false),
                Err(mpsc::TryRecvError::Empty) => break,
            }
        }
        self.hear()?;
        let now = Instant::now();
        if self.stale.retry.is_some_and(|t| t <= now) {
            self.stale.retry = None;
            self.stale.links = true;
        }
        if self.stale.not_before.is_none_or(|t| t <= now) {
            self.look(now)?;
        }
        self.resolver.tick(&mut self.netlink, Instant::now());
        self.routers.tick(&mut self.netlink, Instant::now());
        self.report();
        self.report_routers();
        Ok(true)
    }

    /// Takes in what the kernel has noticed.
    fn hear(&mut self) -> io::Result<()> {
        let now = Instant::now();
        for notice in self.notices.read()? {
            match notice {
                Notice::Links | Notice::Lost => self.stale.links = true,
                Notice::Routes => self.stale.routes = true,
                Notice::Neighbour(neighbour) => {
                    self.resolver.heard(&neighbour, now);
                    let end = (neighbour.ifindex, neighbour.address);
                    self.routers.heard(&end, neighbour.state, now);
                }
            }
        }
        Ok(())
    }

    /// Sleeps until there is a notice, a command, or time has passed.
    fn wait(&mut self) -> io::Result<()> {
        let pending = self.stale.links || self.stale.routes;
        let timeout = match self.stale.not_before {
            Some(t) if pending => t.saturating_duration_since(Instant::now()).min(TICK),
            None if pending => Duration::ZERO,
            _ => TICK,
        };
        // It is no more than a tick, which a `Timespec` can hold.
        let timeout = Timespec::try_from(timeout).unwrap_or_default();
        let mut fds = [
            PollFd::new(&self.notices, PollFlags::IN),
            PollFd::new(&self.woken, PollFlags::IN),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let is_woken = !fds[1].revents().is_empty();
        if is_woken {
            // One read takes up to a bufferful of wake-ups; more make the next
            // turn come at once.
            let mut buffer = [0; 256];
            let _ = self.woken.read(&mut buffer)?;
        }
        Ok(())
    }

    /// Looks at links and routes, if they changed.
    fn look(&mut self, now: Instant) -> io::Result<()> {
        if self.stale.links {
            let links = self.netlink.links()?;
            self.stale.links = false;
            self.serve(&links);
            self.resolver.set_links(links);
            self.stale.routes = true;
        }
        if self.stale.routes {
            self.stale.routes = false;
            self.resolver.look(&mut self.netlink, now);
            let routes = self.netlink.host_routes()?;
            let served = self.resolver.served();
            self.routers.look(&mut self.netlink, &routes, served, now);
            let cost = now.elapsed() * SHARE;
            self.stale.not_before = Some(now + cost);
        }
        Ok(())
    }

    /// Makes the program serve the configured interfaces, also those that have
    /// just come back. One that fails is tried again.
    fn serve(&mut self, links: &[Link]) {
        self.shared.state().miss(links);
        for link in links.iter().filter(|l| self.interfaces.contains(&l.name)) {
            if let Err(error) = self.shared.state().serve(link) {
                error!(interface = link.name, %error, "cannot serve this interface");
                self.stale.retry = Some(Instant::now() + RETRY);
            }
        }
        if let Err(error) = self.shared.state().agree_on_hooks() {
            error!(%error, "cannot have all interfaces reach each other");
            self.stale.retry = Some(Instant::now() + RETRY);
        }
    }

    /// Writes what is new and tells control.
    fn report(&mut self) {
        let news = self.resolver.news();
        if news.is_empty() {
            return;
        }
        let adjacencies: Vec<_> = news
            .iter()
            .map(|(backend, adjacency)| (*backend, adjacency.as_ref().ok().copied()))
            .collect();
        if let Err(error) = self
            .shared
            .change(|state| state.set_adjacencies(&adjacencies))
        {
            error!(%error, "cannot write the next hops of backends");
        }
        for (backend, adjacency) in news {
            match &adjacency {
                Ok(adjacency) => debug!(backend, ?adjacency, "the next hop of a backend is known"),
                Err(reason) => info!(backend, %reason, "a backend cannot be reached"),
            }
            self.shared.tell(Event::NextHop {
                backend,
                next_hop: self.named(adjacency),
            });
        }
    }

    /// Writes what is new of routers to clients.
    fn report_routers(&mut self) {
        let resolver = &self.resolver;
        let Some(known) = self.routers.news(|ifindex| resolver.name_of(ifindex)) else {
            return;
        };
        if let Err(error) = self.shared.state().set_routers(known) {
            error!(%error, "cannot write the routers to clients");
        }
    }

    fn named(&self, adjacency: Result<Adjacency, Unreachable>) -> Result<NextHop, String> {
        match adjacency {
            Ok(adjacency) => Ok(NextHop {
                interface: self.resolver.name_of(adjacency.ifindex),
                mac: if adjacency.bare {
                    NO_MAC.to_owned()
                } else {
                    mac_text(adjacency.to)
                },
            }),
            Err(reason) => Err(reason.to_string()),
        }
    }
}
