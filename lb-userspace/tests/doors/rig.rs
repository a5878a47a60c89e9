//! All four doors, open, in front of the real control plane and a data plane in
//! memory; and what knocks at them.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use lb_userspace::{
    api::{
        Operators,
        admin::{Admin, Socket},
        console, elb, metrics,
    },
    clock::HostClock,
    config::{Document, Purpose, Settings},
    control::{
        self, Control, Handle, Parts,
        handle::{Inbox, Message},
    },
    dataplane::memory::World,
    store::memory::MemoryStore,
};
use tempfile::TempDir;
use tokio::sync::watch;

/// The doors, by what is asked there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    Admin,
    Elb,
    Console,
    Metrics,
}

pub(crate) const DOORS: [Door; 4] = [Door::Admin, Door::Elb, Door::Console, Door::Metrics];

pub(crate) struct Rig {
    pub(crate) socket: PathBuf,
    pub(crate) elb: SocketAddr,
    console: SocketAddr,
    metrics: SocketAddr,
    log: Log,
    handle: Handle,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    _dir: TempDir,
}

/// A connection to a door, of whichever kind.
pub(crate) trait Stream: Read + Write + Send {
    /// How long a read waits.
    fn patience(&self, patience: Duration);
}

impl Stream for TcpStream {
    fn patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

impl Stream for UnixStream {
    fn patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
}

const CONFIG: &str = r#"
    interfaces = ["eth0"]
    [elb_api]
    listen = "127.0.0.1:0"
    [console]
    listen = "127.0.0.1:0"
    access_keys = { anna = "secret" }
"#;

impl Rig {
    pub(crate) fn start() -> Self {
        Self::spied(|_| {})
    }

    /// `spy` sees what control is asked, and may take its time.
    pub(crate) fn spied(spy: impl FnMut(&Message) + Send + 'static) -> Self {
        Self::with(CONFIG, spy)
    }

    /// With no access keys anywhere.
    pub(crate) fn without_keys() -> Self {
        let keys = r#"access_keys = { anna = "secret" }"#;
        Self::with(&CONFIG.replace(keys, ""), |_| {})
    }

    /// With the console's access key at the Query API, too.
    pub(crate) fn with_keys() -> Self {
        let elb = "[elb_api]\n";
        let keys = "access_keys = { anna = \"secret\" }\n";
        Self::with(&CONFIG.replace(elb, &format!("{elb}{keys}")), |_| {})
    }

    fn with(config: &str, mut spy: impl FnMut(&Message) + Send + 'static) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        // Other users may enter.
        let dir = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        let socket = dir.path().join("ebb.sock");
        let (handle, inbox) = control::channel();
        let world = World::new(handle.dataplane_events());
        let parts = Parts {
            clock: Box::new(HostClock),
            store: Box::new(MemoryStore::default()),
            dataplane: Box::new(world.dataplane()),
            vips: None,
        };
        let (seen, messages) = mpsc::channel();
        let spied = Inbox { messages, ..inbox };
        let spy = thread::spawn(move || {
            for message in inbox.messages {
                spy(&message);
                let last = matches!(message, Message::Stop);
                // Control that is gone has been asked enough.
                if seen.send(message).is_err() || last {
                    return;
                }
            }
        });
        let control = thread::spawn(move || Control::start(spied, parts, None).unwrap().run());
        let log = Log::default();
        let (stop, stopped) = watch::channel(false);
        let (ready, is_ready) = mpsc::channel();
        let settings = settings(config);
        let (asked, path, lines) = (handle.clone(), socket.clone(), log.clone());
        let server = thread::spawn(move || {
            let subscriber = tracing_subscriber::fmt().with_writer(lines).finish();
            let _logged = tracing::subscriber::set_default(subscriber);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let admin = Admin::new(asked.clone());
                let socket = Socket::bind(&path).unwrap();
                let operators = Operators::of(&path);
                let elb = settings.elb_api.unwrap();
                let elb = elb::Endpoint::bind(elb, operators.clone()).unwrap();
                let console = settings.console.unwrap();
                let console = console::Endpoint::bind(&console, operators).unwrap();
                let metrics = metrics::Endpoint::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                let at = (elb.address(), console.address(), metrics.address());
                ready.send(at).unwrap();
                let until = || {
                    let mut stopped = stopped.clone();
                    async move { drop(stopped.wait_for(|stop| *stop).await) }
                };
                tokio::join!(
                    admin.serve(socket, until()),
                    elb::serve(elb, asked.clone(), until()),
                    console::serve(console, asked.clone(), until()),
                    metrics::serve(metrics, asked.clone(), until()),
                );
            });
        });
        let (elb, console, metrics) = is_ready.recv().unwrap();
        Self {
            socket,
            elb,
            console,
            metrics,
            log,
            handle,
            stop,
            threads: vec![server, control, spy],
            _dir: dir,
        }
    }

    pub(crate) fn connect(&self, door: Door) -> Box<dyn Stream> {
        let stream: Box<dyn Stream> = match door {
            Door::Admin => Box::new(UnixStream::connect(&self.socket).unwrap()),
            Door::Elb => Box::new(TcpStream::connect(self.elb).unwrap()),
            Door::Console => Box::new(TcpStream::connect(self.console).unwrap()),
            Door::Metrics => Box::new(TcpStream::connect(self.metrics).unwrap()),
        };
        stream.patience(Duration::from_secs(20));
        stream
    }

    /// As somebody who has no right to anything, to a socket that anybody may
    /// use. Needs root.
    pub(crate) fn connect_as_nobody(&self, door: Door) -> Box<dyn Stream> {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&self.socket, std::fs::Permissions::from_mode(0o666)).unwrap();
        thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                let nobody = rustix::thread::Uid::from_raw(65_534);
                rustix::thread::set_thread_res_uid(nobody, nobody, nobody).unwrap();
                self.connect(door)
            });
            connecting.join().unwrap()
        })
    }

    /// A request that the door answers with 200, and its whole answer.
    pub(crate) fn ask(&self, door: Door) -> String {
        self.answer(self.connect(door), &self.question(door, "close"))
    }

    /// A question that the door answers with 200.
    pub(crate) fn question(&self, door: Door, connection: &str) -> String {
        let (host, path) = match door {
            Door::Admin => ("ebb".to_owned(), "/v1/status"),
            Door::Elb => (
                self.elb.to_string(),
                "/?Action=DescribeLoadBalancers&Version=2012-06-01",
            ),
            Door::Console => (self.console.to_string(), "/"),
            Door::Metrics => (self.metrics.to_string(), "/metrics"),
        };
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: {connection}\r\n\r\n")
    }

    /// Sends it and reads to the end.
    pub(crate) fn answer(&self, mut stream: Box<dyn Stream>, request: &str) -> String {
        // One that was turned away at once cannot be written to.
        let _ = stream.write_all(request.as_bytes());
        to_the_end(&mut *stream)
    }

    /// What a `POST` with this JSON to the console is answered.
    pub(crate) fn post_to_console(&self, path: &str, headers: &str, body: &str) -> String {
        let request = self.console_post(path, headers, body);
        self.answer(self.connect(Door::Console), &request)
    }

    /// A `POST` as the console's page sends it.
    pub(crate) fn console_post(&self, path: &str, headers: &str, body: &str) -> String {
        format!(
            "POST {path} HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {1}\r\n{headers}\r\n{body}",
            self.console,
            body.len()
        )
    }

    /// A form for the Query API.
    pub(crate) fn post_form(&self, form: &str) -> String {
        format!(
            "POST / HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{form}",
            self.elb,
            form.len()
        )
    }

    /// A login's cookie, as a header line.
    pub(crate) fn log_in(&self) -> String {
        let body = r#"{"key":"anna","secret":"secret"}"#;
        let answer = self.post_to_console("/console/login", "", body);
        let cookie = answer
            .lines()
            .find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next());
        format!("Cookie: {}\r\n", cookie.unwrap())
    }

    /// Watches the console with this cookie.
    pub(crate) fn watch(&self, cookie: &str) -> Box<dyn Stream> {
        let watch = self
            .question(Door::Console, "keep-alive")
            .replace("GET / ", "GET /console/live ")
            .replace("\r\n\r\n", &format!("\r\n{cookie}\r\n"));
        let mut stream = self.connect(Door::Console);
        stream.write_all(watch.as_bytes()).unwrap();
        stream
    }

    /// The door answers, and soon.
    pub(crate) fn assert_open(&self, door: Door) {
        let begun = Instant::now();
        let answer = self.ask(door);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{door:?}: {answer:?}");
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(2), "{door:?} took {took:?}");
    }

    /// How many lines of the log have this in them.
    pub(crate) fn lines_with(&self, text: &str) -> usize {
        let log = self.log.0.lock().unwrap();
        let log = String::from_utf8_lossy(&log).into_owned();
        log.lines().filter(|line| line.contains(text)).count()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        for (nth, thread) in self.threads.drain(..).enumerate() {
            let ended = thread.join();
            if nth == 0 {
                self.handle.stop();
            }
            if !thread::panicking() {
                ended.unwrap();
            }
        }
    }
}

fn settings(config: &str) -> Settings {
    let document = Document::parse("ebb.toml", config, Purpose::Agent, None).unwrap();
    document.settings.unwrap()
}

/// Ends what runs beside a test, also when the test fails.
#[derive(Debug, Default)]
pub(crate) struct Over(AtomicBool);

impl Over {
    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn with_this(&self) -> impl Drop + '_ {
        struct Ending<'o>(&'o Over);
        impl Drop for Ending<'_> {
            fn drop(&mut self) {
                self.0.0.store(true, Ordering::Relaxed);
            }
        }
        Ending(self)
    }
}

/// What is read until the other end closes, or resets.
pub(crate) fn to_the_end(stream: &mut dyn Stream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => panic!("it stayed open"),
        _ => String::from_utf8_lossy(&bytes).into_owned(),
    }
}

/// The server's log.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> tracing_subscriber::fmt::MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
