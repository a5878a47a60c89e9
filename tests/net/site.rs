//! The lab itself: what the other tests take for granted.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use anyhow::Result;
use lb_userspace::model::Mode;
use tests::lab::{
    conversation::{Conversation, How},
    curl::{self, Download},
    load::Load,
    nginx::PORTS,
    site::{Site, TALKER},
};

use crate::raw::{Ping, Syns};

const SOON: Duration = Duration::from_secs(5);

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_client_reaches_every_backend_when_the_balancer_routes() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    site.route()?;
    for backend in &site.backends {
        let host = &backend.host;
        for address in [IpAddr::from(host.v4), host.v6.into()] {
            for port in PORTS {
                let url = format!("http://{}/", SocketAddr::new(address, port));
                let tally = curl::many(&site.client, &url, 3)?;
                assert_eq!(tally.of(&host.name), 3, "{url}: {tally:?}");
            }
            let talk = Conversation::open(&site.client, (address, TALKER).into())?;
            assert_eq!(talk.backend, host.name);
            assert_eq!(talk.seen_as, talk.local, "nothing translates here");
        }
    }
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_balancer_alone_forwards_nothing() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    site.route()?;
    site.balancer.sysctl("net/ipv4/ip_forward", "0")?;
    let server = SocketAddr::from((site.backends[0].host.v4, 80));
    let reached = site.client.enter(|| {
        std::net::TcpStream::connect_timeout(&server, Duration::from_millis(300)).is_ok()
    })?;
    assert!(!reached);
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn with_dsr_the_vips_are_on_the_backends_and_only_the_balancer_says_so() -> Result<()> {
    use tests::lab::site::{VIP_V4, VIP_V6};

    let site = Site::new(Mode::Dsr)?;
    let vips = [IpAddr::from(VIP_V4), VIP_V6.into()];
    for backend in &site.backends {
        for vip in vips {
            let own = backend
                .host
                .enter(|| std::net::TcpStream::connect((vip, 80)).is_ok())?;
            assert!(own, "{} has {vip}", backend.host.name);
        }
    }
    for vip in vips {
        let reached = site.client.enter(|| {
            std::net::TcpStream::connect_timeout(&(vip, 80).into(), Duration::from_millis(300))
                .is_ok()
        })?;
        assert!(!reached, "a backend has told the LAN of {vip}");
    }
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_download_is_as_slow_as_asked_for_and_arrives_complete() -> Result<()> {
    let site = Site::with_backends(Mode::Dsr, 1)?;
    let server = site.backends[0].host.v4;
    let url = |query| format!("http://{server}/file{query}");

    let fast = Download::start(&site.client, &url(""), site.dir(), "fast")?.wait(SOON)?;
    assert_eq!(fast.exit, 0);
    assert!(fast.body == site.file, "the file came changed");

    let mut slow = Download::start(&site.client, &url("?rate=8m"), site.dir(), "slow")?;
    assert_eq!(slow.backend()?, "web-1");
    let started = slow.started;
    let slow = slow.wait(SOON)?;
    assert_eq!(slow.exit, 0);
    assert!(slow.body == site.file, "the file came changed");
    assert!(slow.ended - started > Duration::from_secs(1));
    assert_eq!(site.backends[0].nginx.requests()?.len(), 2);
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn both_ends_of_a_conversation_can_be_looked_into() -> Result<()> {
    let site = Site::with_backends(Mode::Dsr, 1)?;
    let backend = &site.backends[0];
    let server = SocketAddr::from((backend.host.v4, TALKER));

    let talk = Conversation::open(&site.client, server)?;
    talk.echo("hello")?;
    assert!(site.client.has_connection(talk.local, server)?);
    assert!(backend.host.has_connection(server, talk.seen_as)?);
    assert_eq!(backend.talker.end_of(talk.seen_as), None);

    let (port, seen_as) = (talk.local.port(), talk.seen_as);
    talk.abort()?;
    let end = backend.talker.wait_end_of(seen_as, SOON)?;
    assert_eq!(end.how, How::Reset);
    assert!(!backend.host.has_connection(server, seen_as)?);

    Conversation::open_from(&site.client, port, server)?.end_by_backend()?;
    Conversation::open_from(&site.client, port, server)?.echo("the same port again")?;
    assert_eq!(backend.talker.accepted(), 3);
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_load_counts_its_answers() -> Result<()> {
    let site = Site::with_backends(Mode::Dsr, 1)?;
    let server = SocketAddr::from((site.backends[0].host.v4, 80));
    let load = Load::start(&site.client, server, Duration::ZERO);
    load.wait_for_more(50, SOON)?;
    let requests = load.stop();
    assert!(requests.len() >= 50);
    assert!(
        requests
            .iter()
            .all(|request| request.answer.as_deref() == Ok("web-1")),
        "{requests:?}"
    );
    Ok(())
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn hand_made_packets_are_well_made() -> Result<()> {
    let site = Site::with_backends(Mode::Dsr, 1)?;
    let server = &site.backends[0].host;
    for address in [IpAddr::from(server.v4), server.v6.into()] {
        Ping::open(&site.client, address)?.ping(SOON)?;
    }
    // The server's kernel takes the SYN for one of a connection that it has,
    // and challenges it.
    let challenges = || server.run("nstat", &["-asz", "TcpExtTCPSYNChallenge"]);
    let before = challenges()?;
    let talk = Conversation::open(&site.client, (server.v4, TALKER).into())?;
    Syns::open(&site.client)?.send(talk.local.port(), talk.vip)?;
    talk.echo("unmoved")?;
    assert_ne!(before, challenges()?);
    Ok(())
}
