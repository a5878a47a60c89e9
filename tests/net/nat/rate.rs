//! Thousands of short connections a second through one address and one backend: none is
//! refused, and no port comes back while the backend remembers it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::{model::Mode, wire::Backend};
use tests::{
    lab::{
        agent::Ebb,
        host::Host,
        process::Process,
        rush::{First, Rush, Server, Tally},
        site::{Site, VIP_V4, VIP_V6},
        wait,
    },
    report,
};

use crate::{flood::sent, scene::play_with};

/// Where the backend listens, and the VIP.
const PORT: u16 = 9000;

const METRICS: &str = "http://127.0.0.1:9180/metrics";

/// Client addresses.
const ADDRESSES: u8 = 40;

/// What the connections and their hosts are like.
struct Traffic {
    first: First,
    v6: bool,
    timestamps: bool,
    /// The backend does as RFC 1337 says, and keeps what a RST would end.
    stubborn: bool,
    /// Ports that nat may use, if not all.
    ports: Option<u16>,
    /// The addresses of IPv4 that it uses, if not the interface's alone.
    pool: &'static [&'static str],
    lasts: Duration,
}

impl Default for Traffic {
    fn default() -> Self {
        Self {
            first: First::Backend,
            v6: false,
            timestamps: true,
            stubborn: false,
            // At 2,500 a second each is used again every five seconds.
            ports: Some(12_500),
            pool: &[],
            lasts: Duration::from_secs(15),
        }
    }
}

const PER_SECOND: u64 = 2500;

/// How long a closed connection lingers, with time to spare on a busy machine, and a
/// handshake that nobody finishes.
const CLOSED: Duration = Duration::from_secs(30);
const HANDSHAKE: Duration = Duration::from_secs(60);

fn configuration(site: &Site, traffic: &Traffic) -> String {
    let ports = traffic.ports.map_or_else(String::new, |ports| {
        format!("ports = \"10000-{}\"\n", 9999 + ports)
    });
    let pool = if traffic.pool.is_empty() {
        String::new()
    } else {
        format!("pool = {:?}\n", traffic.pool)
    };
    let backend = &site.backends[0].host;
    format!(
        r#"{preamble}
[nat]
{ports}{pool}
[metrics]
address = "127.0.0.1:9180"

[[load_balancer]]
name = "v4"
mode = "nat"
listeners = [{{ protocol = "tcp", address = "{VIP_V4}", port = {PORT} }}]
backends = [{{ id = "one", address = "{}" }}]

[[load_balancer]]
name = "v6"
mode = "nat"
listeners = [{{ protocol = "tcp", address = "{VIP_V6}", port = {PORT} }}]
backends = [{{ id = "one", address = "{}" }}]
"#,
        backend.v4,
        backend.v6,
        preamble = site.preamble(),
    )
}

/// The addresses of the client's, which it has from now on.
fn addresses(site: &Site, v6: bool) -> Result<Vec<IpAddr>> {
    (0..ADDRESSES)
        .map(|n| {
            let (address, len) = if v6 {
                (format!("fd00:a::{:x}", 0x1000 + u16::from(n)), 64)
            } else {
                (format!("10.0.0.{}", 150 + n), 24)
            };
            let cidr = format!("{address}/{len}");
            let mut command = vec!["address", "add", &*cidr, "dev", "eth0"];
            if v6 {
                command.push("nodad");
            }
            site.client.run("ip", &command)?;
            Ok(address.parse()?)
        })
        .collect()
}

/// Has `act` play at a site with one backend that closes its connections so, given the
/// addresses of the clients.
fn with_server(
    traffic: &Traffic,
    act: impl FnOnce(&Site, &mut Ebb<'_>, Rush, Server) -> Result<()>,
) -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    let backend = &site.backends[0].host;
    for host in [&*site.client, backend] {
        host.sysctl(
            "net/ipv4/tcp_timestamps",
            if traffic.timestamps { "1" } else { "0" },
        )?;
    }
    backend.sysctl(
        "net/ipv4/tcp_rfc1337",
        if traffic.stubborn { "1" } else { "0" },
    )?;
    let from = addresses(&site, traffic.v6)?;
    for address in traffic.pool {
        let own = format!("{address}/32");
        site.balancer
            .run("ip", &["address", "add", &own, "dev", "s0"])?;
    }
    let server = Server::start(backend, PORT, traffic.first)?;
    play_with(&site, &configuration(&site, traffic), |site, ebb| {
        let lb = if traffic.v6 { "v6" } else { "v4" };
        wait::until_true("the backend in service", Duration::from_secs(10), || {
            Ok(backend_of(ebb, lb)?.takes_new)
        })?;
        let vip: IpAddr = if traffic.v6 {
            VIP_V6.into()
        } else {
            VIP_V4.into()
        };
        let rush = Rush {
            to: SocketAddr::new(vip, PORT),
            from,
            first: traffic.first,
            per_second: PER_SECOND,
            lasts: traffic.lasts,
        };
        act(site, ebb, rush, server)
    })
}

fn at_rate(what: &str, traffic: &Traffic) -> Result<()> {
    with_server(traffic, |site, ebb, rush, server| {
        let backend = &site.backends[0].host;
        let before = rejections(backend)?;
        let tally = rush.run(&site.client)?;
        let rejected = rejections(backend)? - before;
        let refused = refused(ebb)?;
        report::line(&format!(
            "{what}: {} of {} connections in {:.1?}, {refused} refused, {} SYNs sent again, \
             {rejected} segments rejected by the backend for what it remembers",
            tally.opened,
            rush.count(),
            tally.took,
            tally.syns_again,
        ));
        held(&rush, &tally, refused, rejected)?;
        drop(server);
        ends_with_nothing(site, ebb, CLOSED)
    })
}

/// Connections that were refused because there was no port.
fn refused(ebb: &Ebb<'_>) -> Result<u64> {
    let verdicts = ebb.status()?.verdicts;
    verdicts
        .get("reset_no_nat_port")
        .copied()
        .context("there is no such verdict")
}

/// Segments that did not fit what the host remembers of a connection: newer kernels count
/// those in TIME-WAIT apart.
fn rejections(host: &Host) -> Result<u64> {
    let open = host.counter("PAWSEstab")?;
    Ok(open + host.counter("PAWSTimewait").unwrap_or(0))
}

fn backend_of(ebb: &Ebb<'_>, lb: &str) -> Result<Backend> {
    ebb.json(&["backend", "show", lb, "one"])
}

fn held(rush: &Rush, tally: &Tally, refused: u64, rejected: u64) -> Result<()> {
    let count = rush.count();
    ensure!(refused == 0, "{refused} were refused: {tally:?}");
    ensure!(tally.opened == count, "not all were opened: {tally:?}");
    ensure!(
        tally.syns_again * 1000 <= count,
        "{} SYNs were sent again: {tally:?}",
        tally.syns_again
    );
    ensure!(
        rejected * 1000 <= count,
        "the backend rejected {rejected}: {tally:?}"
    );
    Ok(())
}

/// The books balance, and no port is in use, once what lingers is gone.
fn ends_with_nothing(site: &Site, ebb: &Ebb<'_>, lingers: Duration) -> Result<()> {
    let mut left = String::new();
    let ended = wait::until_true("no flow and no port", lingers * 2, || {
        let page = site
            .balancer
            .run("curl", &["--silent", "--show-error", "--fail", METRICS])?;
        let of_interest = |line: &&str| {
            line.starts_with("ebb_nat_ports_used{") || line.starts_with("ebb_backend_flows{")
        };
        let lines = page.lines().filter(of_interest);
        let rest: Vec<_> = lines.filter(|line| !line.ends_with(" 0")).collect();
        left = rest.join("\n");
        Ok(left.is_empty())
    });
    ended.context(left)?;
    let log = ebb.process()?.printed();
    ensure!(!log.contains("books do not balance"), "{log}");
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn backend_closes_first() -> Result<()> {
    let traffic = Traffic {
        ports: None,
        lasts: Duration::from_secs(40),
        ..Traffic::default()
    };
    at_rate("nat, the backend closes first", &traffic)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn backend_closes_first_and_ports_are_few() -> Result<()> {
    at_rate(
        "nat, the backend closes first, few ports",
        &Traffic::default(),
    )
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn client_closes_first() -> Result<()> {
    let traffic = Traffic {
        first: First::Client,
        ..Traffic::default()
    };
    at_rate("nat, the client closes first", &traffic)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn both_close_at_once() -> Result<()> {
    let traffic = Traffic {
        first: First::Both,
        ..Traffic::default()
    };
    at_rate("nat, both close at once", &traffic)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn without_timestamps() -> Result<()> {
    let traffic = Traffic {
        timestamps: false,
        ..Traffic::default()
    };
    at_rate("nat, without timestamps", &traffic)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn ipv6() -> Result<()> {
    let traffic = Traffic {
        v6: true,
        ..Traffic::default()
    };
    at_rate("nat, IPv6", &traffic)
}

/// Each forged SYN is answered by the backend, and so binds a port until somebody needs it.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn no_client_is_refused_beside_a_flood_of_forged_syns() -> Result<()> {
    const FORGED: u64 = 4000;
    const PORTS: u16 = 12_500;
    let traffic = Traffic {
        ports: Some(PORTS),
        lasts: Duration::from_secs(20),
        ..Traffic::default()
    };
    with_server(&traffic, |site, ebb, mut rush, server| {
        rush.per_second = 200;
        let mut command = site.client.command("hping3");
        let pause = format!("u{}", 1_000_000 / FORGED);
        let count = (FORGED * 30).to_string();
        command.args(["--interval", &pause, "--count", &count, "--rand-source"]);
        command.args(["--quiet", "--syn", "--destport", &PORT.to_string()]);
        command.arg(VIP_V4.to_string());
        let before = sent(&site.client)?;
        let flood = Process::start("hping3", &mut command, &site.dir().join("hping3.log"))?;
        let tally = rush.run(&site.client)?;
        let forged = sent(&site.client)? - before - tally.opened * 4;
        drop(flood);
        let refused = refused(ebb)?;
        report::line(&format!(
            "nat, beside {forged} forged SYNs: {} of {} connections in {:.1?}, {refused} \
             refused, {} SYNs sent again",
            tally.opened,
            rush.count(),
            tally.took,
            tally.syns_again,
        ));
        ensure!(
            forged > 2 * u64::from(PORTS),
            "only {forged} were forged: that is not every port twice"
        );
        ensure!(refused == 0, "{refused} were refused: {tally:?}");
        ensure!(
            tally.opened == rush.count(),
            "not all were opened: {tally:?}"
        );
        drop(server);
        ends_with_nothing(site, ebb, HANDSHAKE)
    })
}

/// It keeps a port for a minute, whatever comes: then there have to be as many ports as a
/// minute has connections.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_backend_keeps_what_a_reset_would_end() -> Result<()> {
    let traffic = Traffic {
        stubborn: true,
        ports: None,
        pool: &[
            "10.0.1.200",
            "10.0.1.201",
            "10.0.1.202",
            "10.0.1.203",
            "10.0.1.204",
        ],
        lasts: Duration::from_secs(20),
        ..Traffic::default()
    };
    at_rate(
        "nat, the backend does as RFC 1337 says, five addresses",
        &traffic,
    )
}
