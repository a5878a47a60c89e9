//! Clients on the balancer's own host, which come by its loopback device.

use std::{fmt::Write as _, net::TcpStream, time::Instant};

use anyhow::{Context as _, Result, ensure};
use lb_userspace::model::Mode;
use tests::{
    hook::Hook,
    lab::{
        agent::{Ebb, Settings},
        conversation::{Conversation, How},
        curl::{self, Download},
        site::{Site, VIP_V6},
        talker, wait,
    },
};

use crate::{
    hooks::{TRANSFER, expect_hooks},
    scene::{SOON, play, play_with},
};

/// The configuration of every test, and a load balancer of IPv6.
fn configuration(site: &Site, more: &str) -> String {
    let settings = Settings {
        more: more.to_owned(),
        ..Settings::default()
    };
    let mut text = settings.write(site);
    let backends = site.backends_v6();
    let _ = write!(
        text,
        "[[load_balancer]]\nname = \"web6\"\nmode = \"nat\"\nbackends = [{backends}]\n\
         listeners = [\n\
         {{ protocol = \"tcp\", address = \"{VIP_V6}\", port = 80, backend_port = 8080 }}]\n",
    );
    text
}

fn verdict(ebb: &Ebb<'_>, name: &str) -> Result<u64> {
    Ok(ebb.status()?.verdicts.get(name).copied().unwrap_or(0))
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_client_on_the_balancers_own_host_is_served_like_any_other() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    play_with(&site, &configuration(&site, ""), |site, ebb| {
        ebb.wait_in_service()?;
        let host = &site.balancer;
        for url in [site.url("/"), format!("http://[{VIP_V6}]/")] {
            let tally = curl::many(host, &url, 50)?;
            ensure!(tally.failed == 0, "{url}: {tally:?}");
            ensure!(tally.answers.len() == 3, "{url}: {tally:?}");
        }
        let download = Download::start(host, &site.url("/file"), site.dir(), "whole")?;
        let whole = download.wait(TRANSFER)?;
        ensure!(whole.exit == 0, "curl ended with {}", whole.exit);
        ensure!(whole.body == site.file, "another file came");
        talker::ask(host, site.talkers(), "a datagram")?;
        // The clients elsewhere are none the worse for it.
        let tally = curl::many(&site.client, &site.url("/"), 50)?;
        ensure!(tally.failed == 0, "{tally:?}");
        let passed_up = verdict(ebb, "pass_up_to_tc")?;
        ensure!((passed_up > 0) == (site.hook == Hook::Xdp), "{passed_up}");
        Ok(())
    })
}

/// Its port is one that ebb listens at, too: what comes back is for the client all the same.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_local_client_may_have_the_port_of_a_listener() -> Result<()> {
    play(Mode::Nat, &Settings::default(), |site, _| {
        let talk = Conversation::open_from(&site.balancer, 80, site.talkers())?;
        talk.echo("from port 80")?;
        let said = talker::ask_from(&site.balancer, 80, site.talkers(), "and a datagram")?;
        ensure!(said.starts_with("web-"), "{said}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn p2_a_drain_and_a_restart_spare_local_clients() -> Result<()> {
    play(Mode::Nat, &Settings::default(), |site, ebb| {
        let url = site.url("/file?rate=2m");
        let mut download = Download::start(&site.balancer, &url, site.dir(), "slow")?;
        let backend = download.backend()?;
        let talk = Conversation::open(&site.balancer, site.talkers())?;
        ebb.run(&["backend", "deregister", "web", &backend])?;
        ebb.stop()?;
        ebb.launch()?;
        talk.echo("after the restart")?;
        let whole = download.wait(TRANSFER)?;
        ensure!(whole.exit == 0, "curl ended with {}", whole.exit);
        ensure!(whole.body == site.file, "another file came");
        let tally = curl::many(&site.balancer, &site.url("/"), 30)?;
        ensure!(tally.failed == 0 && tally.of(&backend) == 0, "{tally:?}");
        Ok(())
    })
}

/// At a deadline its connections are reset like any other's.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn p4_a_local_client_hears_of_the_deadline() -> Result<()> {
    let settings = Settings {
        drain_timeout: 1,
        ..Settings::default()
    };
    play(Mode::Nat, &settings, |site, ebb| {
        let talk = Conversation::open(&site.balancer, site.talkers())?;
        for backend in &site.backends {
            ebb.run(&["backend", "deregister", "web", &backend.host.name])?;
        }
        let end = talk.wait_end(SOON * 3)?;
        ensure!(end.how == How::Reset, "{end:?}");
        Ok(())
    })
}

fn refuses_at_once(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let begun = Instant::now();
        let refused = site.balancer.enter(|| TcpStream::connect(site.web()))?;
        let kind = refused.err().context("it was served")?.kind();
        ensure!(kind == std::io::ErrorKind::ConnectionRefused, "{kind}");
        ensure!(begun.elapsed() < SOON, "{:?}", begun.elapsed());
        ensure!(verdict(ebb, "reset_local_client")? > 0);
        let asked = talker::ask(&site.balancer, site.talkers(), "a datagram");
        ensure!(asked.is_err(), "{asked:?}");
        wait::until_true("the datagram to be refused", SOON, || {
            Ok(verdict(ebb, "unreachable_local_client")? > 0)
        })
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn dsr_refuses_local_clients_at_once() -> Result<()> {
    refuses_at_once(Mode::Dsr)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn ipip_refuses_local_clients_at_once() -> Result<()> {
    refuses_at_once(Mode::Ipip)
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_loopback_device_is_left_alone_if_that_is_wanted() -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    let text = configuration(&site, "packets.local_clients = false");
    play_with(&site, &text, |site, ebb| {
        ebb.wait_in_service()?;
        expect_hooks(
            ebb,
            &site
                .interfaces()
                .iter()
                .map(|i| (*i, site.hook.name()))
                .collect::<Vec<_>>(),
        )?;
        let refused = site.balancer.enter(|| TcpStream::connect(site.web()))?;
        ensure!(refused.is_err(), "ebb served it");
        Ok(())
    })
}

/// One interface at XDP and one at TC: what XDP cannot send is left to TC.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn p2_xdp_leaves_to_tc_what_it_cannot_send() -> Result<()> {
    let site = Site::with_hook(Mode::Nat, 3, Hook::Xdp)?;
    let text = configuration(&site, "packets.interface_hooks = { s0 = \"tc\" }");
    play_with(&site, &text, |site, ebb| {
        ebb.wait_in_service()?;
        expect_hooks(ebb, &[("c0", "xdp"), ("lo", "tc"), ("s0", "tc")])?;
        let mut download =
            Download::start(&site.client, &site.url("/file?rate=2m"), site.dir(), "slow")?;
        download.backend()?;
        let passed_up = verdict(ebb, "pass_up_to_tc")?;
        ensure!(passed_up > 0, "nothing was left to TC");
        // To XDP alone and back: the flow is in the same tables.
        for hook in ["xdp", "tc"] {
            ebb.stop()?;
            let more = format!("packets.interface_hooks = {{ s0 = \"{hook}\" }}");
            ebb.write_config(&configuration(site, &more))?;
            ebb.launch()?;
            expect_hooks(ebb, &[("c0", "xdp"), ("lo", "tc"), ("s0", hook)])?;
            download.expect_running()?;
        }
        let tally = curl::many(&site.client, &site.url("/"), 50)?;
        ensure!(tally.failed == 0, "{tally:?}");
        let whole = download.wait(TRANSFER)?;
        ensure!(whole.exit == 0 && whole.body == site.file, "{}", whole.exit);
        Ok(())
    })
}
