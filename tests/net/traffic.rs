//! Real traffic through a routed site, in every forwarding mode and both
//! families: bulk transfers, large datagrams, paths of less MTU; and the books
//! after it.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::{
    model::Mode,
    wire::{Flows, LoadBalancer},
};
use tests::{
    hook::Hook,
    lab::{
        agent::Ebb,
        curl::Download,
        iperf::{self, Direction},
        site::{Site, TALKER, VIP_V4, VIP_V4_IN_V6, VIP_V6},
        talker,
        tunnel::Tunnel,
        wait,
    },
};

const SOON: Duration = Duration::from_secs(5);
/// For 16 MiB on a machine that does other things as well.
const TRANSFER: Duration = Duration::from_secs(30);
/// What the router's link to the client carries after a while.
const SMALL_MTU: &str = "1300";

#[test]
#[ignore = "needs root: cargo xtask test"]
fn real_traffic_goes_through_nat() -> Result<()> {
    everything(Mode::Nat)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn real_traffic_goes_through_dsr() -> Result<()> {
    everything(Mode::Dsr)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn real_traffic_goes_through_tunnels() -> Result<()> {
    everything(Mode::Ipip)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_upload_goes_on_where_a_link_is_too_narrow_for_its_tunnel() -> Result<()> {
    narrow(None)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_upload_goes_on_where_its_tunnel_comes_from_an_address_that_nobody_has() -> Result<()> {
    narrow(Some(["10.200.0.0/16", "fd00:e::/96"]))
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_large_datagram_goes_in_fragments_of_fragments_where_packets_are_taken_at_tc() -> Result<()> {
    if Hook::of_run() == Hook::Xdp {
        return Ok(());
    }
    let site = Site::routed(Mode::Ipip, 1)?;
    let host = &site.backends[0].host;
    let _tunnel = Tunnel::open(&site, host)?;
    let ebb = Ebb::start_with(&site, &configuration(&site)).with_context(|| site.describe())?;
    for (name, vip, _) in load_balancers(site.mode) {
        wait::until_true("the backend to take new flows", SOON * 3, || {
            let found = show(&ebb, name)?.backends;
            Ok(found.iter().all(|backend| backend.takes_new))
        })?;
        if vip.is_ipv4() {
            // At once: nobody has to be told anything.
            let text: String = ('a'..='z').cycle().take(8000).collect();
            let answered = talker::ask(&site.client, (vip, TALKER).into(), &text)?;
            ensure!(answered == host.name, "{answered:?} answered");
        }
    }
    let verdicts = ebb.status()?.verdicts;
    let told = verdicts.get("icmp_too_big").copied().unwrap_or(0);
    ensure!(told == 0, "{verdicts:?}");
    Ok(())
}

/// Uploads by tunnels that the router has no room for. It says so to where they come from:
/// to the balancer, or to the prefixes of `sources`, which lead there.
fn narrow(sources: Option<[&str; 2]>) -> Result<()> {
    let site = Site::routed(Mode::Ipip, 1)?;
    let host = &site.backends[0].host;
    let router = site.router.as_ref().context("the site is routed")?;
    let mut configuration = configuration(&site);
    if let Some(sources) = sources {
        configuration = format!("ipip.source = {sources:?}\n{configuration}");
        let ways = [
            IpAddr::from(site.balancer.v4),
            IpAddr::from(site.balancer.v6),
        ];
        for (prefix, way) in sources.into_iter().zip(ways) {
            router.run("ip", &["route", "add", prefix, "via", &way.to_string()])?;
        }
    }
    for address in [IpAddr::from(host.v4), host.v6.into()] {
        // Locked: what a router forwards goes by no other MTU of a route's.
        let to = [&*address.to_string(), "dev", "s0", "mtu", "lock", "1400"];
        router.run("ip", &[&["route", "add"], &to[..]].concat())?;
    }
    let _tunnel = Tunnel::open(&site, host)?;
    let iperf = iperf::Server::start(&site, host)?;
    let ebb = Ebb::start_with(&site, &configuration).with_context(|| site.describe())?;
    let uploaded = upload(&site, &ebb, &iperf);
    if uploaded.is_err() {
        print!("{}{}", ebb.describe(), site.describe());
    }
    uploaded
}

fn upload(site: &Site, ebb: &Ebb<'_>, iperf: &iperf::Server) -> Result<()> {
    for (name, vip, _) in load_balancers(site.mode) {
        wait::until_true("the backend to take new flows", SOON * 3, || {
            let found = show(ebb, name)?.backends;
            Ok(found.iter().all(|backend| backend.takes_new))
        })?;
        let told = |ebb: &Ebb<'_>| -> Result<u64> {
            let verdicts = ebb.status()?.verdicts;
            Ok(verdicts.get("icmp_tunnel_too_big").copied().unwrap_or(0))
        };
        let before = told(ebb)?;
        let bytes = iperf
            .transfer(&site.client, vip, Direction::ToServer)
            .with_context(|| format!("iperf3 by {name}"))?;
        ensure!(bytes > 1 << 20, "iperf3 by {name}: {bytes} bytes");
        ensure!(told(ebb)? > before, "nobody was told, by {name}");
        expect_books_balance(ebb, name)?;
    }
    Ok(())
}

/// A load balancer for each family, and for IPv4 in tunnels of IPv6: one
/// backend each, so that both connections of an iperf3 reach the same server.
fn load_balancers(mode: Mode) -> Vec<(&'static str, IpAddr, bool)> {
    let mut all = vec![
        ("web", IpAddr::from(VIP_V4), false),
        ("web6", IpAddr::from(VIP_V6), true),
    ];
    if mode == Mode::Ipip {
        all.push(("web46", VIP_V4_IN_V6.into(), true));
    }
    all
}

fn configuration(site: &Site) -> String {
    let (mode, web) = match site.mode {
        Mode::Nat => ("nat", 8080),
        Mode::Dsr => ("dsr", 80),
        Mode::Ipip => ("ipip", 80),
    };
    let mut text = site.preamble();
    let host = &site.backends[0].host;
    for (name, vip, v6_backend) in load_balancers(site.mode) {
        let backend = if v6_backend {
            IpAddr::from(host.v6)
        } else {
            host.v4.into()
        };
        text += &format!(
            r#"[[load_balancer]]
name = "{name}"
mode = "{mode}"
listeners = [
    {{ protocol = "tcp", address = "{vip}", port = 80, backend_port = {web} }},
    {{ protocol = "tcp", address = "{vip}", port = {iperf} }},
    {{ protocol = "udp", address = "{vip}", port = {TALKER} }},
]
backends = [{{ id = "{id}", address = "{backend}" }}]
"#,
            iperf = iperf::PORT,
            id = host.name,
        );
    }
    text
}

fn everything(mode: Mode) -> Result<()> {
    let site = Site::routed(mode, 1)?;
    let host = &site.backends[0].host;
    let _tunnel = (mode == Mode::Ipip)
        .then(|| Tunnel::open(&site, host))
        .transpose()?;
    let iperf = iperf::Server::start(&site, host)?;
    let ebb = Ebb::start_with(&site, &configuration(&site)).with_context(|| site.describe())?;
    let played = play(&site, &ebb, &iperf);
    if played.is_err() {
        print!("{}{}", ebb.describe(), site.describe());
    }
    played
}

fn play(site: &Site, ebb: &Ebb<'_>, iperf: &iperf::Server) -> Result<()> {
    let load_balancers = load_balancers(site.mode);
    for (name, ..) in &load_balancers {
        wait::until_true("the backend to take new flows", SOON * 3, || {
            Ok(show(ebb, name)?
                .backends
                .iter()
                .all(|backend| backend.takes_new))
        })?;
    }
    for (name, vip, _) in &load_balancers {
        for direction in [Direction::ToServer, Direction::ToClient] {
            let bytes = iperf
                .transfer(&site.client, *vip, direction)
                .with_context(|| format!("iperf3 by {name}, {direction:?}"))?;
            ensure!(
                bytes > 1 << 20,
                "iperf3 by {name}, {direction:?}: {bytes} bytes"
            );
        }
        download(site, name, *vip)?;
        large_datagram(site, *vip)?;
    }
    let router = site.router.as_ref().context("the site is routed")?;
    router.run("ip", &["link", "set", "f0", "mtu", SMALL_MTU])?;
    for (name, vip, _) in &load_balancers {
        download(site, &format!("{name}-small"), *vip)
            .context("over a path of less MTU, which a router tells of")?;
        expect_small_path(site, *vip)?;
    }
    for (name, ..) in &load_balancers {
        expect_books_balance(ebb, name)?;
    }
    Ok(())
}

fn show(ebb: &Ebb<'_>, name: &str) -> Result<LoadBalancer> {
    ebb.json(&["lb", "show", name])
}

/// A large file arrives as it is.
fn download(site: &Site, name: &str, vip: IpAddr) -> Result<()> {
    let url = format!("http://{}/file", SocketAddr::new(vip, 80));
    let done = Download::start(&site.client, &url, site.dir(), name)?
        .wait(TRANSFER)
        .with_context(|| format!("the download of {url}"))?;
    ensure!(done.exit == 0, "curl {url}: exit {}", done.exit);
    ensure!(done.body == site.file, "{url} came changed");
    Ok(())
}

/// A datagram of 8 kB, in fragments both ways, is echoed whole. The first may
/// be lost: it is how the client learns what a tunnel carries.
fn large_datagram(site: &Site, vip: IpAddr) -> Result<()> {
    let text: String = ('a'..='z').cycle().take(8000).collect();
    let mut last = None;
    for _ in 0..3 {
        match talker::ask(&site.client, (vip, TALKER).into(), &text) {
            Ok(name) => {
                ensure!(name == site.backends[0].host.name, "{name:?} answered");
                return Ok(());
            }
            Err(error) => last = Some(error),
        }
    }
    Err(last.context("it was asked")?).with_context(|| format!("8 kB to {vip} and back"))
}

/// The backend has been told of the small link by a router's ICMP error, which
/// ebb has brought to it; but for nat over IPv4, where the backend would hold it against
/// all clients, and routers fragment what was agreed on: ebb has kept it to itself.
fn expect_small_path(site: &Site, vip: IpAddr) -> Result<()> {
    let host = &site.backends[0].host;
    // The client, as the backend knows it.
    let client = match site.mode {
        Mode::Nat => match vip {
            IpAddr::V4(_) => "10.0.1.1".to_owned(),
            IpAddr::V6(_) => "fd00:b::1".to_owned(),
        },
        _ => site.client.address(vip).to_string(),
    };
    let route = host.run("ip", &["route", "get", &client])?;
    let told = route.contains(&format!("mtu {SMALL_MTU}"));
    ensure!(
        told != (site.mode == Mode::Nat && vip.is_ipv4()),
        "what the backend knows of the way to {client}: {route}"
    );
    Ok(())
}

/// Counters and table agree, and the audit has found nothing else.
fn expect_books_balance(ebb: &Ebb<'_>, name: &str) -> Result<()> {
    wait::until_true(&format!("the books of {name} to balance"), SOON, || {
        let counted: u64 = show(ebb, name)?
            .backends
            .iter()
            .map(|backend| backend.flows)
            .sum();
        let listed: Flows = ebb.json(&["flows", name, "--limit", "1000"])?;
        Ok(counted == listed.flows.len() as u64)
    })?;
    ensure!(
        !ebb.process()?.printed().contains("books do not balance"),
        "the audit has found a difference"
    );
    Ok(())
}
