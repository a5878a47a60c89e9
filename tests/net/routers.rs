//! The clients' router fails over: flows go on by the one that takes its place (P2), and
//! the last word finds its way (P4).

use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{Ebb, Settings},
    conversation::{Conversation, How},
    curl::Download,
    host::Host,
    site::{FILE_SIZE, Site, VIP_V4, VIP_V6},
    wait,
};

use crate::scene::{SOON, in_each_mode, play_with};

/// How long a stream may stand still when the router is another one.
const PAUSE: Duration = Duration::from_secs(2);

/// A load balancer with a VIP of each family.
fn of_both_families(site: &Site) -> String {
    format!(
        "{}\n[[load_balancer]]\nname = \"web-v6\"\nmode = \"nat\"\n\
         listeners = [{{ protocol = \"tcp\", address = \"{VIP_V6}\", port = 80, backend_port = 8080 }}]\n\
         backends = [{{ id = \"web-1\", address = \"{}\" }}]\n",
        Settings::default().write(site),
        site.backends[0].host.v6,
    )
}

/// Downloads under way by both families.
fn downloads(site: &Site) -> Result<Vec<(IpAddr, Download)>> {
    let mut all = Vec::new();
    for vip in [IpAddr::from(VIP_V4), VIP_V6.into()] {
        let url = format!(
            "http://{}/file?rate={}",
            SocketAddr::new(vip, 80),
            FILE_SIZE / 20
        );
        let name = if vip.is_ipv6() { "six" } else { "four" };
        let mut download = Download::start(&site.client, &url, site.dir(), name)?;
        download.backend()?;
        all.push((vip, download));
    }
    Ok(all)
}

/// They go on although `happens`.
fn go_on(site: &Site, heir: &Host, happens: impl FnOnce() -> Result<()>) -> Result<()> {
    let mut downloads = downloads(site)?;
    for (vip, download) in &downloads {
        wait::until_true(&format!("the download from {vip} to begin"), SOON, || {
            Ok(download.received() > 0)
        })?;
    }
    happens()?;
    let began = Instant::now();
    let before: Vec<u64> = downloads.iter().map(|(_, d)| d.received()).collect();
    for ((vip, download), before) in downloads.iter_mut().zip(before) {
        // More than may have been under way.
        let enough = before + FILE_SIZE as u64 / 20;
        wait::until_true(
            &format!("the download from {vip} to go on"),
            PAUSE * 2,
            || {
                download.expect_running()?;
                Ok(download.received() >= enough)
            },
        )?;
        println!("{vip}: a second's worth more after {:?}", began.elapsed());
    }
    println!("{}", heir.describe());
    Ok(())
}

fn in_service(ebb: &Ebb<'_>) -> Result<()> {
    for name in ["web", "web-v6"] {
        wait::until_true(&format!("{name} to take new flows"), SOON * 3, || {
            let shown: lb_userspace::wire::LoadBalancer = ebb.json(&["lb", "show", name])?;
            Ok(shown.backends.iter().all(|backend| backend.takes_new))
        })?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p2_downloads_go_on_when_another_router_takes_over_the_gateways_address() -> Result<()> {
    let site = Site::routed(Mode::Nat, 1)?;
    play_with(&site, &of_both_families(&site), |site, ebb| {
        in_service(ebb)?;
        let heir = site.heir()?;
        go_on(site, &heir, || site.take_over(&heir))
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p2_downloads_go_on_when_the_default_route_goes_to_another_router() -> Result<()> {
    let site = Site::routed(Mode::Nat, 1)?;
    play_with(&site, &of_both_families(&site), |site, ebb| {
        in_service(ebb)?;
        let heir = site.heir()?;
        go_on(site, &heir, || site.reroute())
    })
}

in_each_mode! {
    /// A client that has been silent since before the router failed over.
    p4_the_last_word_at_the_deadline_finds_the_clients_new_router,
}

fn p4_the_last_word_at_the_deadline_finds_the_clients_new_router(mode: Mode) -> Result<()> {
    let site = Site::routed(mode, 1)?;
    play_with(&site, &Settings::default().write(&site), |site, ebb| {
        ebb.wait_in_service()?;
        let heir = site.heir()?;
        let talk = Conversation::open(&site.client, site.talkers())?;
        site.take_over(&heir)?;
        wait::until_true("the balancer to hear of the heir", SOON, || {
            let link = heir.run("ip", &["-brief", "link", "show", "c0"])?;
            let mac = link.split_whitespace().nth(2).context("a MAC address")?;
            let known = site.balancer.run("ip", &["neigh", "show", "10.0.0.254"])?;
            Ok(known.contains(mac))
        })?;
        ebb.deregister(&talk.backend, &["--timeout", "1"])?;
        let end = talk.wait_end(Duration::from_secs(1) + SOON)?;
        assert_eq!(end.how, How::Reset);
        Ok(())
    })
}
