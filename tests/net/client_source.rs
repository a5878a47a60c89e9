//! `nat` that leaves the client's address alone: backends see it, and answer by ebb.

use std::{fmt::Write as _, net::TcpStream, time::Duration};

use anyhow::{Result, ensure};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::{Conversation, How},
    curl::{self, Download},
    site::{Site, VIP_V4, VIP_V6},
    talker, wait,
};

use crate::{
    hooks::TRANSFER,
    scene::{SOON, play_with},
};

/// Backends whose way to the clients leads by ebb.
fn site() -> Result<Site> {
    let site = Site::new(Mode::Nat)?;
    for backend in &site.backends {
        let run = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            backend.host.run("ip", &words)
        };
        run("route add 10.0.0.0/24 via 10.0.1.1")?;
        run("-6 route add fd00:a::/64 via fd00:b::1")?;
    }
    Ok(site)
}

fn configuration(site: &Site, source: &str) -> String {
    let settings = Settings {
        drain_timeout: 1,
        ..Settings::default()
    };
    let mut text = settings.write(site).replace(
        "idle_timeout =",
        &format!("nat_source = \"{source}\"\nidle_timeout ="),
    );
    let backends = site.backends_v6();
    let _ = write!(
        text,
        "[[load_balancer]]\nname = \"web6\"\nmode = \"nat\"\nbackends = [{backends}]\n\
         attributes = {{ nat_source = \"{source}\" }}\n\
         listeners = [\n\
         {{ protocol = \"tcp\", address = \"{VIP_V6}\", port = 80, backend_port = 8080 }},\n\
         {{ protocol = \"tcp\", address = \"{VIP_V6}\", port = 7 }}]\n\
         [[load_balancer]]\nname = \"other\"\nmode = \"nat\"\n\
         attributes = {{ nat_source = \"{source}\" }}\n\
         backends = [{{ id = \"web-1\", address = \"10.0.1.11\" }}]\n\
         listeners = [{{ protocol = \"tcp\", address = \"{VIP_V4}\", port = 8007, backend_port = 7 }}]\n",
    );
    text
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn backends_see_the_clients_own_addresses() -> Result<()> {
    let site = site()?;
    play_with(&site, &configuration(&site, "client"), |site, ebb| {
        ebb.wait_in_service()?;
        for vip in [site.talkers(), (VIP_V6, 7).into()] {
            let talk = Conversation::open(&site.client, vip)?;
            talk.echo("hello")?;
            ensure!(
                talk.seen_as == talk.local,
                "{} as {}",
                talk.local,
                talk.seen_as
            );
        }
        for url in [site.url("/"), format!("http://[{VIP_V6}]/")] {
            let tally = curl::many(&site.client, &url, 50)?;
            ensure!(tally.failed == 0, "{url}: {tally:?}");
            ensure!(tally.answers.len() == 3, "{url}: {tally:?}");
        }
        let download = Download::start(&site.client, &site.url("/file"), site.dir(), "whole")?;
        let whole = download.wait(TRANSFER)?;
        ensure!(whole.exit == 0 && whole.body == site.file, "{}", whole.exit);
        talker::ask(&site.client, site.talkers(), "a datagram")?;
        // No port of ebb's is in use.
        let ports = ebb.status()?.nat_ports;
        ensure!(ports.is_empty(), "{ports:?}");
        Ok(())
    })
}

/// A client comes back on its port as often as it likes, in every way that a connection ends.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_client_may_use_its_port_again_and_again() -> Result<()> {
    let site = site()?;
    play_with(&site, &configuration(&site, "client"), |site, ebb| {
        ebb.wait_in_service()?;
        for turn in 0..6 {
            let talk = Conversation::open_from(&site.client, 40_000, site.talkers())?;
            talk.echo("here again")?;
            if turn % 2 == 0 {
                talk.abort()?;
            } else {
                talk.end_by_backend()?;
            }
        }
        Ok(())
    })
}

/// By two listeners to one backend: the second cannot be told from the first.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn p6_a_second_connection_of_the_same_port_to_the_same_backend_is_refused() -> Result<()> {
    let site = site()?;
    play_with(&site, &configuration(&site, "client"), |site, ebb| {
        ebb.wait_in_service()?;
        let first = (0..30).find_map(|n| {
            let talk = Conversation::open_from(&site.client, 40_100 + n, site.talkers());
            talk.ok().filter(|talk| talk.backend == "web-1")
        });
        let Some(first) = first else {
            anyhow::bail!("thirty connections, and none to web-1");
        };
        let port = first.local.port();
        let second = Conversation::open_from(&site.client, port, (VIP_V4, 8007).into());
        ensure!(second.is_err(), "it was opened");
        first.echo("as if nothing had happened")?;
        Conversation::open(&site.client, (VIP_V4, 8007).into())?.echo("from another port")?;
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p4_both_ends_hear_of_the_deadline_where_backends_see_clients() -> Result<()> {
    let site = site()?;
    play_with(&site, &configuration(&site, "client"), |site, ebb| {
        ebb.wait_in_service()?;
        let talk = Conversation::open(&site.client, site.talkers())?;
        talk.echo("before the drain")?;
        ebb.run(&["backend", "deregister", LB, &talk.backend])?;
        let within = Duration::from_secs(1) + SOON;
        ensure!(talk.wait_end(within)?.how == How::Reset);
        let backend = site.backend(&talk.backend)?;
        let end = backend.talker.wait_end_of(talk.seen_as, within)?;
        ensure!(end.how == How::Reset, "{end:?}");
        Ok(())
    })
}

/// To the client's address and back to ebb's, and over a restart: open flows stay.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn p2_a_change_of_whose_address_backends_see_breaks_no_flow() -> Result<()> {
    let site = site()?;
    play_with(&site, &configuration(&site, "ebb"), |site, ebb| {
        ebb.wait_in_service()?;
        let before = Conversation::open(&site.client, site.talkers())?;
        ensure!(before.seen_as != before.local, "{}", before.seen_as);
        ebb.run(&["attributes", "set", LB, "nat-source=client"])?;
        let after = Conversation::open(&site.client, site.talkers())?;
        ensure!(after.seen_as == after.local, "{}", after.seen_as);
        ebb.stop()?;
        ebb.launch()?;
        for talk in [&before, &after] {
            talk.echo("after a restart")?;
        }
        let new = Conversation::open(&site.client, site.talkers())?;
        ensure!(new.seen_as == new.local, "{}", new.seen_as);
        ebb.run(&["attributes", "set", LB, "nat-source=ebb"])?;
        let last = Conversation::open(&site.client, site.talkers())?;
        ensure!(last.seen_as != last.local, "{}", last.seen_as);
        for talk in [&before, &after, &new] {
            talk.echo("to the end")?;
        }
        Ok(())
    })
}

/// Where the backends' way to the clients leads elsewhere, no connection opens, and the
/// status says why.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn answers_that_go_another_way_are_warned_of() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    let warned = |ebb: &Ebb<'_>| -> Result<bool> {
        let warnings = ebb.status()?.warnings;
        Ok(warnings
            .iter()
            .any(|warning| warning.contains("no answer came by ebb")))
    };
    play_with(&site, &configuration(&site, "client"), |site, ebb| {
        ebb.wait_in_service()?;
        ensure!(!warned(ebb)?, "before anybody came");
        wait::until_true("a warning", SOON * 10, || {
            let to = site.web();
            let opened = site
                .client
                .enter(move || TcpStream::connect_timeout(&to, Duration::from_millis(200)))?;
            ensure!(opened.is_err(), "it was opened");
            warned(ebb)
        })
    })
}
