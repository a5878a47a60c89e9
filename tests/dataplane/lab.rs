//! The data plane without its agent, on a site of the lab: a client, a balancer
//! and two servers on one LAN.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use lb_userspace::{
    dataplane::{
        BackendView, Change, Event, LbView, ListenerView, Member, View,
        bpf::{Config, Kernel, StartError, unload},
    },
    model::{
        Arrivals, Dscp, HookChoice, ListenerKey, Mode, NatSource, Protocol, TableSizes, UdpSettings,
    },
    object,
};
use tests::lab::{
    passer::Passer,
    site::{Site, VIP_V4},
};

/// Where the servers of these tests listen; the site's own are on other ports.
pub(super) const PORT: u16 = 7070;
/// How long anything may take before a test fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The VIP is on the balancer and on the servers' loopback devices, so that one
/// site serves `nat` and `dsr` alike.
pub(super) struct Lab {
    // Goes before the site does.
    passer: Option<Passer>,
    pub(super) site: Site,
}

impl Lab {
    pub(super) fn new() -> Self {
        assert!(
            object::is_embedded(),
            "built without the kernel program: run `cargo xtask test`"
        );
        let site = Site::with_backends(Mode::Dsr, 2).unwrap();
        let lab = Self {
            passer: Some(Passer::start(&site).unwrap()),
            site,
        };
        lab.add_vip();
        lab
    }

    /// Takes the balancer's interface away.
    pub(super) fn unplug(&mut self) {
        self.site.unplug("c0").unwrap();
        self.passer = None;
    }

    /// Puts a new one in its place, with the VIP.
    pub(super) fn plug(&mut self) {
        self.site.plug("c0").unwrap();
        self.passer = Some(Passer::start(&self.site).unwrap());
        self.add_vip();
    }

    fn add_vip(&self) {
        let vip = format!("{VIP_V4}/32");
        let balancer = &self.site.balancer;
        balancer
            .run("ip", &["address", "add", &vip, "dev", "c0"])
            .unwrap();
    }

    pub(super) fn config(&self) -> Config {
        Config {
            interfaces: vec!["c0".to_owned()],
            hook: HookChoice::Xdp,
            interface_hooks: BTreeMap::new(),
            local_clients: false,
            bpffs_dir: self.site.pins().to_owned(),
            tables: TableSizes {
                flows: 4096,
                half_open: 1024,
                maglev: 251,
                ..TableSizes::default()
            },
            nat_pool: Vec::new(),
            nat_pools: BTreeMap::new(),
            nat_ports: None,
            tunnel_sources: Vec::new(),
            tunnel_dscp: Dscp::Copy,
            log: false,
            udp: UdpSettings {
                unreplied: Duration::from_secs(30),
                replied: Duration::from_secs(180),
                ..UdpSettings::default()
            },
            arrivals: Arrivals::default(),
        }
    }

    pub(super) fn start(&self, config: &Config) -> Result<Agent, StartError> {
        let (sender, events) = mpsc::channel();
        let kernel = self.site.balancer.enter(|| {
            let sink = Arc::new(move |event| drop(sender.send(event)));
            Kernel::start(object::OBJECT, config, sink)
        });
        let kernel = kernel.unwrap()?;
        Ok(Agent { kernel, events })
    }

    /// Opens a flow through the VIP.
    pub(super) fn connect(&self) -> std::io::Result<TcpStream> {
        let vip = SocketAddr::new(VIP_V4.into(), PORT);
        let connect = || TcpStream::connect_timeout(&vip, PATIENCE);
        let stream = self.site.client.enter(connect).unwrap()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stream)
    }

    /// A listener of a server, on all its addresses; it does not block.
    pub(super) fn listen(&self, server: usize) -> TcpListener {
        let bind = || TcpListener::bind(("0.0.0.0", PORT)).unwrap();
        let listener = self.site.backends[server].host.enter(bind).unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = unload(self.site.pins()) {
            eprintln!("lab: {error}");
        }
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

    /// Waits until the next hops to these backends are known.
    pub(super) fn hear_next_hops(&self, backends: &[u16]) {
        let mut missing: Vec<_> = backends.to_vec();
        while !missing.is_empty() {
            let known = self.hear(|event| match event {
                Event::NextHop {
                    backend,
                    next_hop: Ok(_),
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
        nat_source: NatSource::Ebb,
    };
    let key = ListenerKey {
        protocol: Protocol::Tcp,
        address: VIP_V4.into(),
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
                fails: false,
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
