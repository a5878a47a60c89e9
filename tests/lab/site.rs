//! The site: which hosts there are, on which LANs, with which addresses.
//!
//! ```text
//!  two LANs (nat)                          one LAN (dsr)
//!
//!  client ── clients' LAN ── c0 balancer   client ─┬─ LAN ── c0 balancer
//!                               s0 │               │
//!  web-1 ─┬─ servers' LAN ─────────┘       web-1 ──┤
//!  web-2 ─┤                                web-2 ──┤
//!  web-3 ─┘                                web-3 ──┘
//! ```
//!
//! A routed site has a router with a leg in each LAN, and the client on a third
//! one: what the balancer, the client and the backends say to each other across
//! LANs goes through it. That is what `ipip` is for, and where paths of less MTU
//! are found:
//!
//! ```text
//!  client ── far LAN ── router ─┬─ clients' LAN ── c0 balancer, web-1 … (dsr)
//!                               └─ servers' LAN ── s0 balancer (nat), web-1 …
//! ```
//!
//! A LAN is a bridge in a namespace of its own, the switch. The balancer does
//! not route: what gets from one LAN to the other went through ebb.

use std::{
    env, fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, bail};
use lb_userspace::model::Mode;

use crate::hook::Hook;

use super::{
    host::Host,
    labels,
    namespace::{Namespace, output},
    nginx::Nginx,
    rough::{Manner, Rough},
    talker::Talker,
};

/// Where the talkers listen, on backends and on the VIP.
pub const TALKER: u16 = 7;

/// The VIP, in the clients' LAN.
pub const VIP_V4: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
/// The VIP, in the clients' LAN.
pub const VIP_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xa, 0, 0, 0, 0, 0, 0x100);

/// A VIP in the clients' LAN that is reached by tunnels of IPv6.
pub const VIP_V4_IN_V6: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 101);

/// A backend at the far end of a device without link headers.
pub const BARE: Ipv4Addr = Ipv4Addr::new(10, 0, 9, 2);

/// The size of the file that backends serve.
pub const FILE_SIZE: usize = 16 << 20;

/// A backend and its servers; the host's name is the backend's id.
#[derive(Debug)]
pub struct Backend {
    // Before the host: servers end before their namespace does.
    pub nginx: Nginx,
    pub talker: Talker,
    pub host: Host,
}

/// All of it. Everything goes when it is dropped, in the order of the fields.
#[derive(Debug)]
pub struct Site {
    pub mode: Mode,
    name: String,
    /// Where its balancer takes packets.
    pub hook: Hook,
    pub backends: Vec<Backend>,
    pub balancer: Host,
    /// Shared with the threads that act on it.
    pub client: Arc<Host>,
    /// Of a routed site.
    pub router: Option<Host>,
    /// What every backend serves as `/file`.
    pub file: Vec<u8>,
    pub(super) switch: Namespace,
    scratch: Scratch,
}

/// Where a host is plugged in.
#[derive(Clone, Copy)]
enum Lan {
    Clients,
    Servers,
    /// Where the client of a routed site is.
    Far,
}

/// The router's number in every LAN.
const ROUTER: u8 = 254;
/// That of a second router, which may take the first one's place.
const HEIR: u8 = 253;
/// The LANs that a router has a leg in, by its interfaces.
const LEGS: [(&str, Lan); 3] = [("f0", Lan::Far), ("c0", Lan::Clients), ("s0", Lan::Servers)];

impl Lan {
    fn bridge(self) -> &'static str {
        match self {
            Self::Clients => "clients",
            Self::Servers => "servers",
            Self::Far => "far",
        }
    }

    fn v4(self, host: u8) -> Ipv4Addr {
        match self {
            Self::Clients => Ipv4Addr::new(10, 0, 0, host),
            Self::Servers => Ipv4Addr::new(10, 0, 1, host),
            Self::Far => Ipv4Addr::new(10, 0, 2, host),
        }
    }

    fn v6(self, host: u8) -> Ipv6Addr {
        let lan = match self {
            Self::Clients => 0xa,
            Self::Servers => 0xb,
            Self::Far => 0xc,
        };
        Ipv6Addr::new(0xfd00, lan, 0, 0, 0, 0, 0, host.into())
    }
}

impl Site {
    /// Three backends, laid out as the forwarding mode needs it: `nat` has
    /// them on a LAN of their own, the others on the clients'.
    pub fn new(mode: Mode) -> Result<Self> {
        Self::with_backends(mode, 3)
    }

    /// As [`Site::new`], with `web-1` to `web-<count>`.
    pub fn with_backends(mode: Mode, count: u8) -> Result<Self> {
        Self::with_hook(mode, count, Hook::of_run())
    }

    /// As [`Site::with_backends`], with links as this hook can have them.
    pub fn with_hook(mode: Mode, count: u8, hook: Hook) -> Result<Self> {
        Self::lay_out(mode, count, false, hook)
    }

    /// With a router between the LANs, and so also for `ipip`: the backends
    /// then lie behind it.
    pub fn routed(mode: Mode, count: u8) -> Result<Self> {
        Self::lay_out(mode, count, true, Hook::of_run())
    }

    fn lay_out(mode: Mode, count: u8, routed: bool, hook: Hook) -> Result<Self> {
        let name = labels::next();
        let scratch = Scratch::create(&name)?;
        let file = pseudorandom(FILE_SIZE);
        let file_path = scratch.dir.join("file");
        fs::write(&file_path, &file)?;

        let switch = Namespace::create(format!("{name}-switch"))?;
        switch.sysctl("net/ipv6/conf/default/disable_ipv6", "1")?;
        switch.ip(&[Lan::Clients, Lan::Servers, Lan::Far].map(bridge).concat())?;

        let clients = if routed { Lan::Far } else { Lan::Clients };
        let client = host(&name, "client", clients, 2)?;
        client.plug("eth0", (&switch, hook), clients, 2)?;
        let router = routed
            .then(|| router((&name, "router"), (&switch, hook), ROUTER))
            .transpose()?;
        if routed {
            client.route_by_router(clients)?;
        }

        let balancer = host(&name, "balancer", Lan::Clients, 1)?;
        balancer.sysctl("net/ipv4/ip_forward", "0")?;
        balancer.plug("c0", (&switch, hook), Lan::Clients, 1)?;
        let servers = match mode {
            Mode::Nat => {
                balancer.plug("s0", (&switch, hook), Lan::Servers, 1)?;
                Lan::Servers
            }
            Mode::Ipip if routed => Lan::Servers,
            _ => Lan::Clients,
        };
        if routed {
            balancer.route_by_router(Lan::Clients)?;
        }

        let mut backends = Vec::new();
        for n in 1..=count {
            let host = host(&name, &format!("web-{n}"), servers, 10 + n)?;
            host.plug("eth0", (&switch, hook), servers, 10 + n)?;
            if mode != Mode::Nat {
                host.own_vips()?;
            }
            if routed {
                host.route_by_router(servers)?;
            }
            let nginx = Nginx::start(&host, &scratch.dir.join(&host.name), &file_path)?;
            let talker = Talker::start(&host, TALKER)?;
            backends.push(Backend {
                nginx,
                talker,
                host,
            });
        }
        for backend in &mut backends {
            backend.nginx.wait_ready(&backend.host)?;
        }
        Ok(Self {
            mode,
            name,
            hook,
            backends,
            balancer,
            client: Arc::new(client),
            router,
            file,
            switch,
            scratch,
        })
    }

    /// Its own folder for files.
    pub fn dir(&self) -> &Path {
        &self.scratch.dir
    }

    /// The top of a configuration file: what every agent on this site is told.
    pub fn preamble(&self) -> String {
        let dir = self.dir().display();
        format!(
            r#"interfaces = {interfaces:?}
manage_vips = true
socket = "{dir}/ebb.sock"
state_dir = "{dir}/state"
bpffs_dir = "{pins}"
packets.hook = "{hook}"
"#,
            hook = self.hook.name(),
            interfaces = self.interfaces(),
            pins = self.pins().display(),
        )
    }

    /// Its own folder for pinned programs and maps, not made yet.
    pub fn pins(&self) -> &Path {
        &self.scratch.pins
    }

    pub fn backend(&self, id: &str) -> Result<&Backend> {
        let found = self.backends.iter().find(|backend| backend.host.name == id);
        found.with_context(|| format!("the site has no backend {id}"))
    }

    /// The backends by their IPv6 addresses, as a configuration lists them.
    pub fn backends_v6(&self) -> String {
        let hosts = self.backends.iter().map(|backend| &backend.host);
        hosts
            .map(|host| format!("{{ id = \"{}\", address = \"{}\" }},", host.name, host.v6))
            .collect()
    }

    /// The balancer's interfaces that ebb attaches to.
    pub fn interfaces(&self) -> &'static [&'static str] {
        match self.mode {
            Mode::Nat => &["c0", "s0"],
            _ => &["c0"],
        }
    }

    /// The VIP's port that leads to the talkers.
    pub fn talkers(&self) -> SocketAddr {
        (VIP_V4, TALKER).into()
    }

    /// The VIP's port that leads to the nginx servers.
    pub fn web(&self) -> SocketAddr {
        (VIP_V4, 80).into()
    }

    /// A URL that the client can ask for through the VIP.
    pub fn url(&self, path: &str) -> String {
        format!("http://{VIP_V4}{path}")
    }

    /// Lets the balancer route like any host of two legs, for tests of the
    /// site itself.
    pub fn route(&self) -> Result<()> {
        for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
            self.balancer.sysctl(key, "1")?;
        }
        let (here, there) = (Lan::Clients, Lan::Servers);
        self.client.add_route(there, here)?;
        for backend in &self.backends {
            backend.host.add_route(here, there)?;
        }
        Ok(())
    }

    /// Pulls a plug of the balancer: the interface is gone.
    pub fn unplug(&self, interface: &str) -> Result<()> {
        let line = format!("link delete {interface}\n");
        self.balancer.namespace.ip(&line)
    }

    /// Puts it in again: a new interface of the same name.
    pub fn plug(&self, interface: &str) -> Result<()> {
        let lan = match interface {
            "c0" => Lan::Clients,
            "s0" => Lan::Servers,
            _ => bail!("the balancer has no interface {interface}"),
        };
        self.balancer
            .plug(interface, (&self.switch, self.hook), lan, 1)
    }

    /// Links the balancer and a backend by a device `t0` at each end whose packets have no
    /// link header, until what is returned is dropped. The backend is [`BARE`] there, and the
    /// balancer the address before it.
    pub fn link_bare(&self, backend: &str) -> Result<Rough> {
        let (here, there) = (
            &self.balancer.namespace,
            &self.backend(backend)?.host.namespace,
        );
        let road = Rough::open_bare((here, "t0"), (there, "t0"))?;
        let far = u32::from(BARE);
        let (near, far) = (Ipv4Addr::from(far - 1), Ipv4Addr::from(far));
        for (namespace, own, peer) in [(here, near, far), (there, far, near)] {
            namespace.ip(&format!(
                "address add {own} peer {peer} dev t0\nlink set t0 up\n"
            ))?;
        }
        Ok(road)
    }

    /// Makes the client's link a rough one, until what is returned is dropped. The client
    /// of a routed site cannot have one.
    pub fn roughen(&self, manner: Manner) -> Result<Rough> {
        let (client, lan) = (&self.client.namespace, Lan::Clients);
        client.ip("link delete eth0\n")?;
        let port = self.client.port(lan);
        let road = Rough::open((client, "eth0"), (&self.switch, &port), manner)?;
        let bridge = lan.bridge();
        self.switch
            .ip(&format!("link set {port} master {bridge} up\n"))?;
        client.ip(&format!(
            "link set eth0 up\n\
             address add {}/24 dev eth0\n\
             address add {}/64 dev eth0 nodad\n",
            self.client.v4, self.client.v6
        ))?;
        Ok(road)
    }

    /// Another router of a routed site, which nobody uses yet.
    pub fn heir(&self) -> Result<Host> {
        let heir = router((&self.name, "heir"), (&self.switch, self.hook), HEIR)?;
        // It says so when its MAC address is another one.
        heir.sysctl("net/ipv4/conf/all/arp_notify", "1")?;
        heir.sysctl("net/ipv6/conf/all/ndisc_notify", "1")?;
        Ok(heir)
    }

    /// The router dies, and `heir` takes its addresses, as VRRP has it: everybody is told
    /// that they have another MAC address now.
    pub fn take_over(&self, heir: &Host) -> Result<()> {
        self.lose_router()?;
        let mut lines = String::new();
        for (number, (name, lan)) in LEGS.into_iter().enumerate() {
            let (v4, v6) = (lan.v4(ROUTER), lan.v6(ROUTER));
            // The change of its MAC address is what it announces.
            lines += &format!(
                "address add {v4}/24 dev {name}\n\
                 address add {v6}/64 dev {name} nodad\n\
                 link set {name} address 02:00:5e:00:01:{number:02}\n"
            );
        }
        heir.namespace.ip(&lines)
    }

    /// The router dies, and client and balancer are told to go by the heir, as a routing
    /// protocol has it.
    pub fn reroute(&self) -> Result<()> {
        self.lose_router()?;
        for (host, lan) in [(&*self.client, Lan::Far), (&self.balancer, Lan::Clients)] {
            let (v4, v6) = (lan.v4(HEIR), lan.v6(HEIR));
            host.namespace.ip(&format!(
                "route replace default via {v4}\nroute replace default via {v6}\n"
            ))?;
        }
        Ok(())
    }

    fn lose_router(&self) -> Result<()> {
        let router = self.router.as_ref().context("the site has no router")?;
        let down = LEGS.map(|(name, _)| format!("link set {name} down\n"));
        router.namespace.ip(&down.concat())
    }

    /// The switch's end of the balancer's connection to the clients' LAN.
    pub(super) fn balancers_port(&self) -> String {
        self.balancer.port(Lan::Clients)
    }

    /// The switch's ends of all connections of the balancer.
    pub(super) fn balancers_ports(&self) -> Vec<String> {
        let mut ports = vec![self.balancers_port()];
        if self.interfaces().contains(&"s0") {
            ports.push(self.balancer.port(Lan::Servers));
        }
        ports
    }

    /// Everything that helps to find what went wrong.
    pub fn describe(&self) -> String {
        let hosts = [&*self.client, &self.balancer].into_iter();
        let hosts = hosts.chain(&self.router);
        let hosts = hosts.chain(self.backends.iter().map(|backend| &backend.host));
        hosts.map(Host::describe).collect()
    }
}

/// A bridge that forwards from the start and keeps to itself.
fn bridge(lan: Lan) -> String {
    let name = lan.bridge();
    format!(
        "link add {name} type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n\
         link set {name} up\n"
    )
}

fn host(site: &str, name: &str, lan: Lan, number: u8) -> Result<Host> {
    let namespace = Namespace::create(format!("{site}-{name}"))?;
    // Addresses are given, none are made up; and no host but the routers of
    // `Site::route` forwards.
    namespace.sysctl("net/ipv6/conf/default/accept_ra", "0")?;
    namespace.sysctl("net/ipv6/conf/default/accept_dad", "0")?;
    namespace.ip("link set lo up\n")?;
    Ok(Host {
        name: name.to_owned(),
        v4: lan.v4(number),
        v6: lan.v6(number),
        namespace,
    })
}

/// A host that joins the LANs of a routed site.
fn router((site, name): (&str, &str), switch: (&Namespace, Hook), number: u8) -> Result<Host> {
    let router = host(site, name, Lan::Far, number)?;
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        router.sysctl(key, "1")?;
    }
    // Backends answer for the VIP, from where a route to it does not lead.
    router.sysctl("net/ipv4/conf/all/rp_filter", "0")?;
    router.sysctl("net/ipv4/conf/default/rp_filter", "0")?;
    for (name, lan) in LEGS {
        router.plug(name, switch, lan, number)?;
    }
    Ok(router)
}

impl Host {
    /// Whatever is in another LAN is reached by the router.
    fn route_by_router(&self, from: Lan) -> Result<()> {
        self.namespace.ip(&format!(
            "route add default via {}\n\
             route add default via {}\n",
            from.v4(ROUTER),
            from.v6(ROUTER),
        ))
    }

    /// The switch's end of its connection to a LAN.
    fn port(&self, lan: Lan) -> String {
        let lan: String = lan.bridge().chars().take(1).collect();
        format!("{}-{lan}", self.name)
    }

    /// Connects it to a LAN by an interface called `name`.
    fn plug(
        &self,
        name: &str,
        (switch, hook): (&Namespace, Hook),
        lan: Lan,
        number: u8,
    ) -> Result<()> {
        let port = self.port(lan);
        switch.ip(&format!(
            "link add {port} type veth peer name {name} netns {}\n\
             link set {port} master {} up\n",
            self.namespace.name(),
            lan.bridge(),
        ))?;
        if hook == Hook::Xdp {
            self.as_on_a_wire(name, switch, &port)?;
        }
        self.namespace.ip(&format!(
            "link set {name} up\n\
             address add {}/24 dev {name}\n\
             address add {}/64 dev {name} nodad\n",
            lan.v4(number),
            lan.v6(number),
        ))
    }

    /// XDP reads packets as they are on the wire, and a veth would leave checksums and
    /// segments for a wire that never comes. And what XDP sends into a veth arrives only
    /// if the other end polls, as it does with GRO.
    fn as_on_a_wire(&self, name: &str, switch: &Namespace, port: &str) -> Result<()> {
        output(self.command("ethtool").args(["-K", name, "tx", "off"]))?;
        output(
            switch
                .command("ethtool")
                .args(["-K", port, "tx", "off", "gro", "on"]),
        )?;
        Ok(())
    }

    /// For the DSR modes: has the VIPs, so that packets for them are its own,
    /// but never says so to the LAN.
    fn own_vips(&self) -> Result<()> {
        self.sysctl("net/ipv4/conf/all/arp_ignore", "1")?;
        self.sysctl("net/ipv4/conf/all/arp_announce", "2")?;
        self.namespace.ip(&format!(
            "address add {VIP_V4}/32 dev lo\n\
             address add {VIP_V4_IN_V6}/32 dev lo\n\
             address add {VIP_V6}/128 dev lo nodad\n"
        ))
    }

    fn add_route(&self, to: Lan, from: Lan) -> Result<()> {
        self.namespace.ip(&format!(
            "route add {}/24 via {}\n\
             route add {}/64 via {}\n",
            to.v4(0),
            from.v4(1),
            to.v6(0),
            from.v6(1),
        ))
    }

    /// Its address of the same family as `like`.
    pub fn address(&self, like: IpAddr) -> IpAddr {
        match like {
            IpAddr::V4(_) => self.v4.into(),
            IpAddr::V6(_) => self.v6.into(),
        }
    }
}

/// The site's places in the file system; removed when dropped.
#[derive(Debug)]
struct Scratch {
    dir: PathBuf,
    pins: PathBuf,
}

impl Scratch {
    fn create(name: &str) -> Result<Self> {
        let dir = env::temp_dir().join(name);
        fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        Ok(Self {
            dir,
            pins: Path::new("/sys/fs/bpf").join(name),
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        for place in [&self.pins, &self.dir] {
            match fs::remove_dir_all(place) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    eprintln!("lab: cannot remove {}: {error}", place.display());
                }
                _ => {}
            }
        }
    }
}

/// Bytes that no truncation, reordering or repetition leaves the same.
fn pseudorandom(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(|| {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    let mut bytes: Vec<u8> = words.take(length.div_ceil(8)).flatten().collect();
    bytes.truncate(length);
    bytes
}
