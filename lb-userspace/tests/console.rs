//! The console over HTTP, on the real control plane and a data plane in
//! memory: what is there for whom.

#![expect(
    clippy::unwrap_used,
    reason = "the lint does not see that a test's helpers are tests"
)]

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use lb_userspace::{
    api::{
        Operators,
        console::{self, Endpoint},
    },
    clock::HostClock,
    config::{Document, Entrance, Purpose},
    control::{self, Control, Handle, Parts},
    dataplane::memory::World,
    store::memory::MemoryStore,
};
use tokio::sync::oneshot;

struct Agent {
    address: SocketAddr,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Agent {
    /// With this in its `[console]`, and a load balancer `web` of two backends.
    fn start(section: &str) -> Self {
        let (handle, inbox) = control::channel();
        let world = World::new(handle.dataplane_events());
        let parts = Parts {
            clock: Box::new(HostClock),
            store: Box::new(MemoryStore::default()),
            dataplane: Box::new(world.dataplane()),
            vips: None,
        };
        let control = thread::spawn(move || Control::start(inbox, parts, None).unwrap().run());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let entrance = entrance(section);
        let asked = handle.clone();
        let server = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let web = serde_json::from_str(
                    r#"{ "name": "web", "mode": "nat",
                         "listeners": [{ "protocol": "tcp", "address": "10.0.0.100", "port": 80 }],
                         "backends": [{ "id": "web-1", "address": "10.0.1.11" },
                                      { "id": "web-2", "address": "10.0.1.12" }] }"#,
                );
                asked.create_load_balancer(web.unwrap()).await.unwrap();
                let endpoint =
                    Endpoint::bind(&entrance, Operators::of(Path::new("/nonexistent"))).unwrap();
                ready.send(endpoint.address()).unwrap();
                console::serve(endpoint, asked, async { drop(stopped.await) }).await;
            });
        });
        Self {
            address: is_ready.recv().unwrap(),
            handle,
            stop: Some(stop),
            threads: vec![control, server],
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).unwrap();
        stream
    }

    /// One request on a connection of its own, as the page would send it, with
    /// more header lines; head and body of the answer.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (String, String) {
        let mut stream = self.connect();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {0}\r\nOrigin: http://{0}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {1}\r\n{headers}\r\n{body}",
            self.address,
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn status(&self, method: &str, path: &str, headers: &str, body: &str) -> u16 {
        let (head, _) = self.ask(method, path, headers, body);
        head.split(' ').nth(1).unwrap().parse().unwrap()
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

fn entrance(section: &str) -> Entrance {
    let text = format!("interfaces = [\"eth0\"]\n[console]\nlisten = \"127.0.0.1:0\"\n{section}\n");
    let document = Document::parse("ebb.toml", &text, Purpose::Agent, None).unwrap();
    document.settings.unwrap().console.unwrap()
}

#[test]
fn every_answer_tells_the_browser_what_it_may_not() {
    let agent = Agent::start("");
    for path in [
        "/",
        "/console.js",
        "/console.css",
        "/icon.svg",
        "/v1/load-balancers",
        "/nothing",
    ] {
        let (head, _) = agent.ask("GET", path, "", "");
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: {head}");
        }
    }
}

#[test]
fn it_does_what_operators_do_every_day_and_nothing_else() {
    let agent = Agent::start("");
    let web = "/v1/load-balancers/web";
    let timeout = |seconds: u32| format!(r#"{{"connection_draining":{{"timeout":{seconds}}}}}"#);
    let attributes = format!("{web}/attributes");
    assert_eq!(agent.status("PATCH", &attributes, "", &timeout(45)), 200);
    for bad in [0, 3601] {
        assert_eq!(agent.status("PATCH", &attributes, "", &timeout(bad)), 400);
    }
    let deregister = format!("{web}/backends/web-1/deregister");
    assert_eq!(agent.status("POST", &deregister, "", "{}"), 200);
    // Load balancers come and go by other doors.
    assert_eq!(agent.status("DELETE", web, "", ""), 405);
    assert_eq!(agent.status("POST", "/v1/load-balancers", "", "{}"), 405);
    assert_eq!(agent.status("POST", "/v1/apply", "", "{}"), 404);
    // And what is malformed is a client's mistake.
    for (body, status) in [("{", 400), ("7", 422), (r#"{"idle":1}"#, 422)] {
        assert_eq!(
            agent.status("PATCH", &attributes, "", body),
            status,
            "{body}"
        );
    }
    let large = " ".repeat(100 << 10);
    assert_eq!(agent.status("PATCH", &attributes, "", &large), 413);
}

#[test]
fn with_keys_there_is_nothing_without_a_login() {
    let agent = Agent::start("access_keys = { anna = \"secret\" }");
    for (method, path) in [
        ("GET", "/v1/load-balancers"),
        ("GET", "/console/live"),
        ("PATCH", "/v1/load-balancers/web/attributes"),
        ("GET", "/nothing"),
    ] {
        assert_eq!(agent.status(method, path, "", "{}"), 401, "{method} {path}");
    }
    let login = |secret: &str| {
        let body = format!(r#"{{"key":"anna","secret":"{secret}"}}"#);
        agent.ask("POST", "/console/login", "", &body)
    };
    assert!(login("guess").0.starts_with("HTTP/1.1 401 "));
    let (head, _) = login("secret");
    assert!(head.starts_with("HTTP/1.1 204 "), "{head}");
    let cookie = head
        .lines()
        .find_map(|line| line.strip_prefix("set-cookie: "))
        .unwrap();
    assert!(
        cookie.ends_with("HttpOnly; SameSite=Strict") && cookie.contains("Path=/;"),
        "{cookie}"
    );
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    let list = || agent.status("GET", "/v1/load-balancers", &cookie, "");
    assert_eq!(list(), 200);
    assert_eq!(agent.status("POST", "/console/logout", &cookie, "{}"), 204);
    assert_eq!(list(), 401);
}

#[test]
fn whoever_watches_is_told_at_once_and_when_something_happens() {
    let agent = Agent::start("");
    let mut stream = agent.connect();
    write!(
        stream,
        "GET /console/live?lb=web HTTP/1.1\r\nHost: {}\r\n\r\n",
        agent.address
    )
    .unwrap();
    let mut told = String::new();
    let mut wait_for = |wanted: &str| {
        let mut chunk = [0; 4096];
        while !told.contains(wanted) {
            let more = stream.read(&mut chunk).unwrap();
            assert!(more > 0, "it ended before {wanted}: {told}");
            told.push_str(std::str::from_utf8(&chunk[..more]).unwrap());
        }
    };
    wait_for("event: history");
    wait_for("\"in_service\":2");
    let body = r#"{"timeout":60}"#;
    let path = "/v1/load-balancers/web/backends/web-1/deregister";
    assert_eq!(agent.status("POST", path, "", body), 200);
    wait_for("\"in_service\":1");
}
