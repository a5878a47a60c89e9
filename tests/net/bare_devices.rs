//! Backends and clients at devices whose packets have no link header, as those of tun,
//! WireGuard and PPP.

use std::{io::ErrorKind, net::TcpStream, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use anyhow::{Result, ensure};
use lb_userspace::{model::Mode, wire::LoadBalancer};
use rustix::net::{
    AddressFamily, RecvFlags, SocketFlags, SocketType, ipproto, recv, socket_with, sockopt,
};
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::{Conversation, How},
    curl::{self, Download},
    host::Host,
    site::{BARE, Site},
    talker, wait,
};

use crate::{
    hooks::TRANSFER,
    scene::{SOON, play_with},
};

/// `web-1` at the far end of `t0`, and nobody else.
fn configuration(site: &Site) -> String {
    let settings = Settings {
        backends: vec!["web-1".to_owned()],
        drain_timeout: 1,
        ..Settings::default()
    };
    let interfaces = site.interfaces();
    let mut wanted: Vec<_> = interfaces.to_vec();
    wanted.push("t0");
    settings
        .write(site)
        .replace(
            &format!("interfaces = {interfaces:?}"),
            &format!("interfaces = {wanted:?}"),
        )
        .replace(
            &format!("address = \"{}\"", site.backends[0].host.v4),
            &format!("address = \"{BARE}\""),
        )
}

fn wait_in_service(ebb: &Ebb<'_>) -> Result<()> {
    wait::until_true("the backend to be reached", SOON * 5, || {
        let lb: LoadBalancer = ebb.json(&["lb", "show", LB])?;
        Ok(lb.backends.iter().all(|backend| backend.takes_new))
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_backend_without_a_mac_address_is_reached_by_nat() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    let _road = site.link_bare("web-1")?;
    play_with(&site, &configuration(&site), |site, ebb| {
        wait_in_service(ebb)?;
        let tally = curl::many(&site.client, &site.url("/"), 50)?;
        ensure!(tally.failed == 0, "{tally:?}");
        let download = Download::start(&site.client, &site.url("/file"), site.dir(), "whole")?;
        let whole = download.wait(TRANSFER)?;
        ensure!(whole.exit == 0, "curl ended with {}", whole.exit);
        ensure!(whole.body == site.file, "another file came");
        talker::ask(&site.client, site.talkers(), "a datagram")?;
        // And from the balancer's own host.
        let tally = curl::many(&site.balancer, &site.url("/"), 20)?;
        ensure!(tally.failed == 0, "{tally:?}");
        // What is for the host is passed to it, which says that nobody listens there.
        let to_host = site.backends[0]
            .host
            .enter(|| TcpStream::connect(("10.0.9.1", 9)))?;
        let kind = to_host.err().map(|error| error.kind());
        ensure!(kind == Some(ErrorKind::ConnectionRefused), "{kind:?}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p4_both_ends_hear_of_the_deadline_where_one_has_no_mac_address() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 1)?;
    let _road = site.link_bare("web-1")?;
    play_with(&site, &configuration(&site), |site, ebb| {
        wait_in_service(ebb)?;
        let talk = Conversation::open(&site.client, site.talkers())?;
        talk.echo("before the drain")?;
        ebb.run(&["backend", "deregister", LB, "web-1"])?;
        let within = Duration::from_secs(1) + SOON;
        ensure!(talk.wait_end(within)?.how == How::Reset);
        let server = site.backends[0].talker.wait_end_of(talk.seen_as, within)?;
        ensure!(server.how == How::Reset, "{server:?}");
        Ok(())
    })
}

/// A client at the far end of the device, and the server on a LAN.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_client_without_a_mac_address_is_served() -> Result<()> {
    let site = Site::with_backends(Mode::Nat, 2)?;
    let _road = site.link_bare("web-2")?;
    let text = configuration(&site).replace(
        &format!("address = \"{BARE}\""),
        &format!("address = \"{}\"", site.backends[0].host.v4),
    );
    play_with(&site, &text, |site, ebb| {
        wait_in_service(ebb)?;
        let client = &site.backends[1].host;
        client.run("ip", &["route", "add", "10.0.0.100", "dev", "t0"])?;
        let tally = curl::many(client, &site.url("/"), 50)?;
        ensure!(tally.failed == 0, "{tally:?}");
        let talk = Conversation::open(client, site.talkers())?;
        talk.echo("before the drain")?;
        ebb.run(&["backend", "deregister", LB, "web-1"])?;
        let within = Duration::from_secs(1) + SOON;
        ensure!(talk.wait_end(within)?.how == How::Reset);
        Ok(())
    })
}

/// A socket that hears the datagrams in datagrams that come to the host.
fn tunnelled(host: &Host) -> Result<OwnedFd> {
    let socket = host.enter(|| {
        let (family, kind) = (AddressFamily::INET, SocketType::RAW);
        socket_with(family, kind, SocketFlags::CLOEXEC, Some(ipproto::IPIP))
    })??;
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(SOON))?;
    Ok(socket)
}

/// What arrives is a datagram in a datagram, as from any other link.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_backend_without_a_mac_address_is_reached_by_ipip() -> Result<()> {
    let site = Site::with_backends(Mode::Ipip, 1)?;
    let _road = site.link_bare("web-1")?;
    play_with(&site, &configuration(&site), |site, ebb| {
        wait_in_service(ebb)?;
        let tunnel = tunnelled(&site.backends[0].host)?;
        // Whoever answers is not at the far end: the SYN is what counts.
        let client = Arc::clone(&site.client);
        let to = site.web();
        let caller = thread::spawn(move || client.enter(|| TcpStream::connect_timeout(&to, SOON)));
        let mut datagram = [0; 2048];
        let (len, _) = recv(&tunnel, &mut datagram, RecvFlags::empty())?;
        let datagram = &datagram[..len];
        ensure!(datagram.len() == 2 * 20 + 40, "{datagram:02X?}");
        ensure!(
            datagram[12..20] == [10, 0, 9, 1, 10, 0, 9, 2],
            "{datagram:02X?}"
        );
        ensure!(
            datagram[32..40] == [10, 0, 0, 2, 10, 0, 0, 100],
            "{datagram:02X?}"
        );
        let _ = caller.join();
        Ok(())
    })
}
