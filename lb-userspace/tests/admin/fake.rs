//! An agent whose control task is a closure, and answers to give.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lb_userspace::{
    api::admin::{Admin, Socket},
    clock::HostClock,
    control::{
        self, Control, Error, Parts,
        handle::{Message, Request},
    },
    dataplane::memory::World,
    model::{Mode, Protocol},
    store::memory::MemoryStore,
    wire::{
        Attributes, Backend, BackendCounters, BackendTally, ConnectionDraining, Drain,
        DrainOutcome, Event, Listener, LoadBalancer, NextHop, State, Status,
    },
};
use tempfile::TempDir;
use tokio::sync::{broadcast, oneshot};

/// A real admin socket in front of a control task that a test plays.
pub(crate) struct Agent {
    pub(crate) socket: PathBuf,
    handle: control::Handle,
    events: broadcast::Sender<Arc<Event>>,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Agent {
    /// Serves on `socket`; `play` gets each request and who asks.
    pub(crate) fn start(
        socket: &Path,
        mut play: impl FnMut(&str, Request) + Send + 'static,
    ) -> Self {
        let (handle, inbox) = control::channel();
        Self::serve(socket, handle, inbox.events.clone(), move || {
            while let Ok(message) = inbox.messages.recv() {
                match message {
                    Message::Request { by, request } => play(&by, *request),
                    Message::Stop => break,
                    Message::Dataplane(_) => {}
                }
            }
        })
    }

    /// The real control task, on a data plane and a store in memory.
    pub(crate) fn real(socket: &Path) -> (Self, World) {
        let (handle, inbox) = control::channel();
        let world = World::new(handle.dataplane_events());
        let parts = Parts {
            clock: Box::new(HostClock),
            store: Box::new(MemoryStore::default()),
            dataplane: Box::new(world.dataplane()),
            vips: None,
        };
        let events = inbox.events.clone();
        let control = Control::start(inbox, parts, None).unwrap();
        let agent = Self::serve(socket, handle, events, move || control.run());
        (agent, world)
    }

    fn serve(
        socket: &Path,
        handle: control::Handle,
        events: broadcast::Sender<Arc<Event>>,
        control: impl FnOnce() + Send + 'static,
    ) -> Self {
        let door = Admin::new(handle.clone());
        let control = thread::spawn(control);
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let path = socket.to_owned();
        let server = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    let socket = Socket::bind(&path).unwrap();
                    ready.send(()).unwrap();
                    door.serve(socket, async { drop(stopped.await) }).await;
                });
        });
        is_ready.recv().unwrap();
        Self {
            socket: socket.to_owned(),
            handle,
            events,
            stop: Some(stop),
            threads: vec![control, server],
        }
    }

    /// An agent in a folder of its own, and the requests that it got, as
    /// `who: request`.
    pub(crate) fn recorded(
        mut play: impl FnMut(Request) + Send + 'static,
    ) -> (Self, TempDir, Arc<Mutex<Vec<String>>>) {
        let dir = folder();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let agent = Self::start(&dir.path().join("ebb.sock"), move |by, request| {
            log.lock().unwrap().push(format!("{by}: {request:?}"));
            play(request);
        });
        (agent, dir, seen)
    }

    /// Tells whoever listens.
    pub(crate) fn happens(&self, event: Event) {
        self.events.send(Arc::new(event)).unwrap();
    }

    /// The binary, asked to talk to this agent.
    pub(crate) fn ebb(&self, args: &[&str]) -> Output {
        ebb(&self.socket, args).output().unwrap()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.handle.stop();
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

/// Waits for something that should be so in a moment.
pub(crate) fn eventually<T>(what: &str, mut so: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(value) = so() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A folder that other users may enter.
pub(crate) fn folder() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    tempfile::Builder::new()
        .prefix("ebb-")
        .permissions(std::fs::Permissions::from_mode(0o755))
        .tempdir()
        .unwrap()
}

pub(crate) fn ebb(socket: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ebb"));
    command.env("EBB_SOCKET", socket).args(args);
    command
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

pub(crate) fn no_such_lb(name: &str) -> Error {
    Error::NoSuchLoadBalancer {
        name: name.to_owned(),
        nearest: Some("web".to_owned()),
    }
}

const DATE: &str = "2026-01-02T03:04:05Z";

pub(crate) fn backend(id: &str) -> Backend {
    Backend {
        id: id.to_owned(),
        address: [10, 0, 1, 11].into(),
        weight: 1,
        state: State::InService,
        reason_code: "N/A".to_owned(),
        description: "N/A".to_owned(),
        registration: "registered".to_owned(),
        health: "healthy".to_owned(),
        health_by_hand: false,
        takes_new: true,
        flows: 7,
        next_hop: Some(NextHop {
            interface: "eth1".to_owned(),
            mac: "02:00:00:00:00:01".to_owned(),
        }),
        next_hop_error: None,
        last_check: None,
        drain: None,
        counters: BackendCounters::default(),
    }
}

pub(crate) fn draining(id: &str, flows: u64) -> Backend {
    Backend {
        registration: "draining".to_owned(),
        description: "Instance deregistration currently in progress.".to_owned(),
        takes_new: false,
        flows,
        drain: Some(Drain {
            started: DATE.to_owned(),
            timeout: 300,
            seconds_left: 299,
            flows_at_start: 9,
            flows_left: flows,
            outcome: None,
        }),
        ..backend(id)
    }
}

pub(crate) fn gone(id: &str, outcome: DrainOutcome) -> Backend {
    let mut backend = draining(id, 0);
    backend.registration = "gone".to_owned();
    if let Some(drain) = &mut backend.drain {
        drain.outcome = Some(outcome);
    }
    backend
}

pub(crate) fn load_balancer(name: &str) -> LoadBalancer {
    LoadBalancer {
        health_check: None,
        name: name.to_owned(),
        mode: Mode::Nat,
        listeners: vec![Listener {
            protocol: Protocol::Tcp,
            address: [10, 0, 0, 100].into(),
            port: 80,
            backend_port: Some(8080),
        }],
        attributes: attributes(),
        backends: vec![backend("web-1")],
        created: DATE.to_owned(),
        deleting: false,
        elb: serde_json::Value::Null,
    }
}

pub(crate) fn attributes() -> Attributes {
    Attributes {
        connection_draining: ConnectionDraining {
            enabled: true,
            timeout: 300,
        },
        idle_timeout: 350,
        close_rate: 0,
        nat_source: "ebb".to_owned(),
    }
}

pub(crate) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 1,
        started: DATE.to_owned(),
        uptime_seconds: 1,
        interfaces: Vec::new(),
        tables: Vec::new(),
        nat_ports: Vec::new(),
        load_balancers: 0,
        backends: BackendTally::default(),
        flows: 0,
        verdicts: [("forward".to_owned(), 1)].into(),
        warnings: Vec::new(),
    }
}
