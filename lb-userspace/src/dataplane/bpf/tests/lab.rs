//! A client, a balancer and two servers on one switch, each in a network
//! namespace of its own.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use aya::{
    Ebpf,
    programs::{Xdp, XdpMode as AyaMode, links::FdLink},
};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::super::{Config, Kernel, StartError, TableSizes, UdpTimeouts, XdpMode, unload};
use crate::dataplane::{
    BackendView, Change, Event, LbView, ListenerKey, ListenerView, Member, Mode, Protocol, View,
};

pub(super) const VIP: &str = "10.0.0.100";
pub(super) const PORT: u16 = 80;
/// How long anything may take before a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A network namespace; deleted when dropped.
pub(super) struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    fn create(name: String) -> Self {
        run(&["ip", "netns", "add", &name]);
        let handle = File::open(format!("/run/netns/{name}")).unwrap();
        let this = Self { name, handle };
        this.run(&["ip", "link", "set", "lo", "up"]);
        this
    }

    /// Does `work` on a thread in here; what that opens stays in here.
    pub(super) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(self.handle.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap();
                work()
            });
            thread.join().unwrap()
        })
    }

    pub(super) fn run(&self, command: &[&str]) {
        self.enter(|| run(command));
    }

    fn sysctl(&self, key: &str, value: &str) {
        self.enter(|| fs::write(format!("/proc/sys/{key}"), value).unwrap());
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip")
            .args(["netns", "delete", &self.name])
            .status();
    }
}

fn run(command: &[&str]) {
    let done = Command::new(command[0])
        .args(&command[1..])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}

pub(super) struct Lab {
    pub(super) client: Namespace,
    pub(super) balancer: Namespace,
    pub(super) servers: [Namespace; 2],
    switch: Namespace,
    bpffs: PathBuf,
    links: Mutex<Vec<FdLink>>,
}

impl Lab {
    /// The client is 10.0.0.2, the balancer 10.0.0.3 with the VIP, the servers
    /// are 10.0.0.11 and 10.0.0.12 and have the VIP on their loopback.
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        assert!(
            crate::object::is_embedded(),
            "built without the kernel program: run `cargo xtask test`"
        );
        let id = format!(
            "{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let namespace = |name: &str| Namespace::create(format!("ebb-dp-{name}-{id}"));
        let lab = Self {
            client: namespace("client"),
            balancer: namespace("balancer"),
            servers: [namespace("server1"), namespace("server2")],
            switch: namespace("switch"),
            bpffs: PathBuf::from(format!("/sys/fs/bpf/ebb-dp-{id}")),
            links: Mutex::default(),
        };
        lab.switch
            .run(&["ip", "link", "add", "br0", "type", "bridge"]);
        lab.switch.run(&["ip", "link", "set", "br0", "up"]);
        lab.plug("client", &lab.client, "10.0.0.2/24");
        lab.plug("balancer", &lab.balancer, "10.0.0.3/24");
        lab.plug("server1", &lab.servers[0], "10.0.0.11/24");
        lab.plug("server2", &lab.servers[1], "10.0.0.12/24");
        lab.add_vip();
        for server in &lab.servers {
            server.sysctl("net/ipv4/conf/all/arp_ignore", "1");
            server.sysctl("net/ipv4/conf/all/arp_announce", "2");
            server.run(&["ip", "address", "add", &format!("{VIP}/32"), "dev", "lo"]);
        }
        lab
    }

    pub(super) fn add_vip(&self) {
        let vip = format!("{VIP}/32");
        self.balancer
            .run(&["ip", "address", "add", &vip, "dev", "eth0"]);
    }

    /// Connects a namespace's eth0 to the switch.
    pub(super) fn plug(&self, port: &str, namespace: &Namespace, address: &str) {
        self.switch.run(&[
            "ip",
            "link",
            "add",
            port,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            &namespace.name,
        ]);
        self.switch
            .run(&["ip", "link", "set", port, "master", "br0", "up"]);
        // A veth only hands over at once what XDP sends back (XDP_TX) if there
        // is a program at its other end, too: any one that lets packets pass.
        self.switch.enter(|| {
            let mut ebpf = Ebpf::load(crate::object::OBJECT).unwrap();
            let pass: &mut Xdp = ebpf.program_mut("decap").unwrap().try_into().unwrap();
            pass.load().unwrap();
            let id = pass.attach(port, AyaMode::Driver).unwrap();
            let link = FdLink::try_from(pass.take_link(id).unwrap()).unwrap();
            self.links.lock().unwrap().push(link);
        });
        // And XDP reads checksums as they are on a wire.
        namespace.run(&["ethtool", "-K", "eth0", "tx", "off"]);
        namespace.run(&["ip", "address", "add", address, "dev", "eth0"]);
        namespace.run(&["ip", "link", "set", "eth0", "up"]);
    }

    pub(super) fn config(&self) -> Config {
        Config {
            interfaces: vec!["eth0".to_owned()],
            xdp_mode: XdpMode::Driver,
            bpffs_dir: self.bpffs.clone(),
            tables: TableSizes {
                flows: 4096,
                half_open: 1024,
                maglev: 251,
            },
            nat_pool: Vec::new(),
            nat_ports: None,
            tunnel_sources: Vec::new(),
            log: false,
            udp_timeouts: UdpTimeouts {
                unreplied: Duration::from_secs(30),
                replied: Duration::from_secs(180),
            },
        }
    }

    pub(super) fn start(&self, config: &Config) -> Result<Agent, StartError> {
        let (sender, events) = mpsc::channel();
        let kernel = self.balancer.enter(|| {
            let sink = Arc::new(move |event| drop(sender.send(event)));
            Kernel::start(crate::object::OBJECT, config, sink)
        })?;
        Ok(Agent { kernel, events })
    }

    /// Opens a flow through the VIP.
    pub(super) fn connect(&self) -> std::io::Result<TcpStream> {
        let vip = SocketAddr::new(ip(VIP), PORT);
        let stream = self
            .client
            .enter(|| TcpStream::connect_timeout(&vip, PATIENCE))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A listener of a server, on all its addresses; it does not block.
    pub(super) fn listen(&self, server: usize) -> TcpListener {
        let listener = self.servers[server].enter(|| TcpListener::bind(("0.0.0.0", PORT)).unwrap());
        listener.set_nonblocking(true).unwrap();
        listener
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = unload(&self.bpffs);
    }
}

/// A data plane and what it says.
pub(super) struct Agent {
    pub(super) kernel: Kernel,
    pub(super) events: mpsc::Receiver<Event>,
}

impl Agent {
    /// Waits for an event that `wanted` gives something for.
    pub(super) fn hear<T>(&self, wanted: impl Fn(&Event) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self
                .events
                .recv_timeout(left)
                .expect("the event comes in time");
            if let Some(found) = wanted(&event) {
                return found;
            }
        }
    }

    /// Waits until the ways to these backends are known.
    pub(super) fn hear_ways(&self, backends: &[u16]) {
        let mut missing: Vec<_> = backends.to_vec();
        while !missing.is_empty() {
            let known = self.hear(|event| match event {
                Event::NextHop {
                    backend,
                    way: Ok(_),
                } => Some(*backend),
                _ => None,
            });
            missing.retain(|backend| *backend != known);
        }
    }
}

pub(super) const BACKENDS: [u16; 2] = [3, 7];

/// One load balancer with one listener and both servers, in service.
pub(super) fn view(mode: Mode) -> View {
    let lb = LbView {
        index: 1,
        name: "web".to_owned(),
        mode,
        idle_timeout: Duration::from_secs(350),
        close_rate: 0,
    };
    let key = ListenerKey {
        protocol: Protocol::Tcp,
        address: ip(VIP),
        port: PORT,
    };
    let mut view = View::default();
    view.lbs.insert(1, lb);
    view.listeners.insert(
        key,
        ListenerView {
            key,
            lb: 1,
            backend_port: PORT,
        },
    );
    for (index, address) in BACKENDS.into_iter().zip(["10.0.0.11", "10.0.0.12"]) {
        view.backends.insert(
            index,
            BackendView {
                index,
                epoch: 1,
                lb: 1,
                address: ip(address),
                takes_new: true,
            },
        );
    }
    view.tables.insert(1, members(&BACKENDS));
    view
}

/// The members of the table, of which those of `in_service` are.
pub(super) fn members(in_service: &[u16]) -> Vec<Member> {
    BACKENDS
        .iter()
        .map(|backend| Member {
            backend: *backend,
            id: format!("web-{backend}"),
            weight: 1,
            in_service: in_service.contains(backend),
        })
        .collect()
}

/// What takes a backend out of service.
pub(super) fn out_of_service(view: &View, backend: u16) -> Vec<Change> {
    let row = BackendView {
        takes_new: false,
        ..view.backends[&backend].clone()
    };
    let others: Vec<_> = BACKENDS.into_iter().filter(|b| *b != backend).collect();
    vec![
        Change::PutBackend(row),
        Change::PutTable(1, members(&others)),
    ]
}

/// The next connection that comes to a server.
pub(super) fn accept(listener: &TcpListener) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return stream;
            }
            Err(error) => assert!(Instant::now() < deadline, "nobody came: {error}"),
        }
        thread::sleep(Duration::from_millis(1));
    }
}

/// Both ends say something and hear it.
pub(super) fn talk(client: &mut TcpStream, server: &mut TcpStream) {
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buffer = [0; 5];
    client.write_all(b"hello").unwrap();
    server.read_exact(&mut buffer).unwrap();
    server.write_all(b"there").unwrap();
    client.read_exact(&mut buffer).unwrap();
    assert_eq!(&buffer, b"there");
}

/// The stream's end has been reset by a RST.
pub(super) fn assert_reset(stream: &mut TcpStream, who: &str) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let error = stream
        .read(&mut [0; 16])
        .expect_err("a reset, not data or an end");
    assert_eq!(
        error.kind(),
        std::io::ErrorKind::ConnectionReset,
        "{who}: {error}"
    );
}

/// Waits until `condition` holds.
pub(super) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come true: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
