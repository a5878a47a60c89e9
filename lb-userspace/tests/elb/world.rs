//! An agent without a kernel: the Query API, the control plane, and a data
//! plane in memory.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use lb_userspace::{
    api::{
        Operators,
        elb::{self, Endpoint},
    },
    clock::HostClock,
    config::{Document, ElbApi, Purpose},
    control::{self, Control, Handle, Parts},
    dataplane::memory::{FlowId, World},
    model::{ListenerKey, Protocol, TableSizes},
    store::memory::MemoryStore,
};
use tokio::sync::oneshot;

pub(crate) const CONFIG: &str = "\
    listen = \"127.0.0.1:0\"\n\
    vip_pool = [\"10.0.0.100-10.0.0.102\"]\n\
    instances = { web-1 = \"10.0.1.11\", web-2 = \"10.0.1.12\" }\n";

pub(crate) struct Agent {
    pub(crate) address: SocketAddr,
    pub(crate) handle: Handle,
    pub(crate) world: World,
    pub(crate) store: MemoryStore,
    stop: Option<oneshot::Sender<()>>,
    threads: Vec<JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start() -> Self {
        Self::with(CONFIG)
    }

    /// With this for its `[elb_api]`.
    pub(crate) fn with(section: &str) -> Self {
        Self::sized(section, TableSizes::default())
    }

    /// As [`Self::with`], with tables of these sizes.
    pub(crate) fn sized(section: &str, sizes: TableSizes) -> Self {
        let (handle, inbox) = control::channel();
        let world = World::new(handle.dataplane_events());
        world.resize(sizes);
        let store = MemoryStore::default();
        let parts = Parts {
            clock: Box::new(HostClock),
            store: Box::new(store.clone()),
            dataplane: Box::new(world.dataplane()),
            vips: None,
        };
        let control = thread::spawn(move || Control::start(inbox, parts, None).unwrap().run());
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = mpsc::channel();
        let settings = settings(section);
        let asked = handle.clone();
        let server = thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(async {
                    let endpoint =
                        Endpoint::bind(settings, Operators::of(Path::new("/nonexistent"))).unwrap();
                    ready.send(endpoint.address()).unwrap();
                    elb::serve(endpoint, asked, async { drop(stopped.await) }).await;
                });
        });
        Self {
            address: is_ready.recv().unwrap(),
            handle,
            world,
            store,
            stop: Some(stop),
            threads: vec![control, server],
        }
    }

    /// Calls an action; the parameters as `Name=value` and encoded already.
    pub(crate) fn call(&self, action: &str, parameters: &[&str]) -> Answer {
        let mut form = format!("Action={action}&Version=2012-06-01");
        for parameter in parameters {
            form.push('&');
            form.push_str(parameter);
        }
        self.post(form.as_bytes())
    }

    /// The text of the element at `path` below the action's result, from an
    /// action that must succeed.
    pub(crate) fn ok(&self, action: &str, parameters: &[&str]) -> Answer {
        let answer = self.call(action, parameters);
        assert_eq!(answer.status, 200, "{action} {parameters:?}: {answer:?}");
        answer
    }

    /// The code that an action is refused with.
    pub(crate) fn refused(&self, action: &str, parameters: &[&str]) -> String {
        let answer = self.call(action, parameters);
        assert_ne!(answer.status, 200, "{action} {parameters:?}: {answer:?}");
        answer.text("Error/Code")
    }

    pub(crate) fn post(&self, body: &[u8]) -> Answer {
        self.send("POST", "/", "", body)
    }

    /// One request on a connection of its own; `headers` end with CRLF each.
    pub(crate) fn send(&self, method: &str, target: &str, headers: &str, body: &[u8]) -> Answer {
        let mut stream = self.connect();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // The answer to what is too large comes before all of it is sent.
        let _ = stream.write_all(body);
        Answer::read(&mut stream).unwrap_or_else(|| panic!("no answer to {method} {target}"))
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        stream
    }

    /// A load balancer with this name, port 80 to instance port 8080. Nobody
    /// checks its instances here, so they count as healthy.
    pub(crate) fn create(&self, name: &str) -> String {
        let vip = self.create_checked(name);
        ask(self.handle.set_health_check(name, None)).unwrap();
        vip
    }

    /// As [`Agent::create`], with the health check that it begins with.
    pub(crate) fn create_checked(&self, name: &str) -> String {
        let answer = self.ok(
            "CreateLoadBalancer",
            &[
                &format!("LoadBalancerName={name}"),
                "Listeners.member.1.Protocol=TCP",
                "Listeners.member.1.LoadBalancerPort=80",
                "Listeners.member.1.InstancePort=8080",
                "AvailabilityZones.member.1=local-1a",
            ],
        );
        answer.text("CreateLoadBalancerResult/DNSName")
    }

    /// A client connects to port 80 of the VIP.
    pub(crate) fn client(&self, vip: &str, choice: u64) -> FlowId {
        let key = ListenerKey {
            protocol: Protocol::Tcp,
            address: vip.parse::<IpAddr>().unwrap(),
            port: 80,
        };
        self.world.connect(key, choice).unwrap()
    }

    /// `InService Instance deregistration currently in progress.`
    pub(crate) fn health(&self, lb: &str, id: &str) -> String {
        let answer = self.call(
            "DescribeInstanceHealth",
            &[
                &format!("LoadBalancerName={lb}"),
                &format!("Instances.member.1.InstanceId={id}"),
            ],
        );
        if answer.status != 200 {
            return answer.text("Error/Code");
        }
        let state = "DescribeInstanceHealthResult/InstanceStates/member";
        let text = |name: &str| answer.text(&format!("{state}/{name}"));
        format!(
            "{} {} {}",
            text("State"),
            text("ReasonCode"),
            text("Description")
        )
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

pub(crate) fn settings(section: &str) -> ElbApi {
    let text = format!("interfaces = [\"eth0\"]\n[elb_api]\n{section}");
    let document = Document::parse("ebb.toml", &text, Purpose::Agent, None).unwrap();
    document.settings.unwrap().elb_api.unwrap()
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    /// To the end of the connection. None if there was no whole answer.
    pub(crate) fn read(stream: &mut TcpStream) -> Option<Self> {
        let mut bytes = Vec::new();
        // A reset after the answer takes nothing of it away.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some(Self {
            status: head.split(' ').nth(1)?.parse().ok()?,
            body: body.to_owned(),
        })
    }

    /// The text at the path below the root; empty for an element that is.
    pub(crate) fn text(&self, path: &str) -> String {
        let texts = self.texts(path);
        let [text] = &texts[..] else {
            panic!("{} times {path}: {}", texts.len(), self.body);
        };
        text.clone()
    }

    /// All texts at the path.
    pub(crate) fn texts(&self, path: &str) -> Vec<String> {
        let document = roxmltree::Document::parse(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", self.body));
        let mut nodes = vec![document.root_element()];
        for name in path.split('/') {
            nodes = nodes
                .iter()
                .flat_map(roxmltree::Node::children)
                .filter(|node| node.tag_name().name() == name)
                .collect();
        }
        nodes
            .iter()
            .map(|node| node.text().unwrap_or("").to_owned())
            .collect()
    }
}

pub(crate) fn ask<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(future)
}
