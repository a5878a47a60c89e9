//! P2: no change of the backend set moves or breaks an established flow.

use std::time::Duration;

use anyhow::Result;
use lb_userspace::{model::Mode, wire::HealthByHand};
use rustix::process::Signal;
use tests::lab::{
    agent::Settings,
    conversation::Conversation,
    curl::{self, Download},
    site::{FILE_SIZE, Site},
    wait,
};

use crate::{
    raw::Syns,
    scene::{SOON, in_each_mode, play, play_at},
};

in_each_mode! {
    downloads_arrive_complete_while_backends_come_and_go,
    flows_stay_through_a_restart_and_a_crash_of_the_agent,
    flows_stay_through_a_reload,
    registering_again_cancels_the_drain,
    a_syn_on_a_closed_tuple_goes_to_a_backend_in_service,
    a_duplicate_syn_does_not_move_a_live_flow,
}

/// Seconds that a download takes here.
const LONG: usize = 4;

fn download(site: &Site, name: &str) -> Result<Download> {
    let url = site.url(&format!("/file?rate={}", FILE_SIZE / LONG));
    Download::start(&site.client, &url, site.dir(), name)
}

fn downloads_arrive_complete_while_backends_come_and_go(mode: Mode) -> Result<()> {
    let site = Site::with_backends(mode, 4)?;
    let settings = Settings {
        backends: ["web-1", "web-2", "web-3"].map(str::to_owned).into(),
        ..Settings::default()
    };
    play_at(&site, &settings, |site, ebb| {
        // The hash deals the backends out, so which of them has how many of a
        // dozen is chance: what is asked for is opened, however it comes.
        let mut downloads: Vec<(String, Download)> = Vec::new();
        while downloads.len() < 12
            || ["web-1", "web-2", "web-3"]
                .iter()
                .any(|&id| downloads.iter().filter(|(on, _)| on == id).count() < 2)
        {
            anyhow::ensure!(
                downloads.len() < 100,
                "of a hundred downloads fewer than two are on one of three backends"
            );
            let mut download = download(site, &format!("download-{}", downloads.len()))?;
            downloads.push((download.backend()?, download));
        }

        // web-1 drains with downloads on it, web-3 too, and comes back; web-4
        // comes and goes.
        ebb.deregister("web-1", &[])?;
        ebb.register("web-4")?;
        wait::until_true("web-4 in service", SOON, || {
            Ok(ebb.backend("web-4")?.takes_new)
        })?;
        ebb.deregister("web-3", &[])?;
        curl::many(&site.client, &site.url("/"), 50)?;
        ebb.register("web-3")?;
        ebb.deregister("web-4", &[])?;
        ebb.set_health("web-2", HealthByHand::Unhealthy)?;
        curl::many(&site.client, &site.url("/"), 50)?;
        ebb.set_health("web-2", HealthByHand::Auto)?;

        for (backend, download) in downloads {
            let done = download.wait(Duration::from_secs(LONG as u64 * 3))?;
            assert_eq!(done.exit, 0, "the download from {backend}");
            assert!(
                done.body == site.file,
                "the download from {backend} came changed"
            );
        }
        ebb.wait_gone("web-1", SOON).map(drop)
    })
}

fn flows_stay_through_a_restart_and_a_crash_of_the_agent(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let download = download(site, "download")?;
        for how in ["stopped", "crashed"] {
            talk.echo("before")?;
            match how {
                "stopped" => ebb.stop()?,
                _ => ebb.crash()?,
            }
            talk.echo(&format!("while it is {how}"))?;
            let tally = curl::many(&site.client, &site.url("/"), 30)?;
            assert_eq!(tally.failed, 0, "{how}: the kernel goes on by itself");
            ebb.launch()?;
            talk.echo("after")?;
            ebb.wait_in_service()?;
            assert_eq!(curl::many(&site.client, &site.url("/"), 30)?.failed, 0);
        }
        let done = download.wait(Duration::from_secs(LONG as u64 * 3))?;
        assert_eq!(done.exit, 0);
        assert!(done.body == site.file);
        Ok(())
    })
}

fn flows_stay_through_a_reload(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talks = (0..12)
            .map(|_| Conversation::open(&site.client, site.talkers()))
            .collect::<Result<Vec<_>>>()?;
        let fewer = Settings {
            backends: ["web-1", "web-2"].map(str::to_owned).into(),
            ..Settings::default()
        };
        ebb.write_config(&fewer.write(site))?;
        ebb.process()?.signal(Signal::HUP)?;
        wait::until_true("web-3 to take no new flows", SOON, || {
            Ok(!ebb.backend("web-3")?.takes_new)
        })?;
        for talk in &talks {
            talk.echo("after the reload")?;
        }
        let tally = curl::many(&site.client, &site.url("/"), 100)?;
        assert_eq!((tally.of("web-3"), tally.failed), (0, 0), "{tally:?}");
        Ok(())
    })
}

fn registering_again_cancels_the_drain(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let started = std::time::Instant::now();
        ebb.deregister(&talk.backend, &["--timeout", "2"])?;
        let answer = ebb.register(&talk.backend)?;
        assert_eq!(answer.registration, "registered");
        let tally = curl::many(&site.client, &site.url("/"), 100)?;
        assert!(
            tally.of(&talk.backend) > 0,
            "new flows come back: {tally:?}"
        );
        wait::till(started + Duration::from_secs(3))?;
        talk.echo("the old deadline has passed")?;
        assert_eq!(ebb.backend(&talk.backend)?.registration, "registered");
        Ok(())
    })
}

fn a_syn_on_a_closed_tuple_goes_to_a_backend_in_service(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        const PORT: u16 = 45_000;
        let first = Conversation::open_from(&site.client, PORT, site.talkers())?;
        // Keeps the backend draining, so that it could still get the flow.
        let other = Conversation::open_with(&site.client, site.talkers(), &first.backend)?;
        let gone = first.backend.clone();
        first.end_by_backend()?;
        ebb.deregister(&gone, &[])?;
        let second = Conversation::open_from(&site.client, PORT, site.talkers())?;
        assert_ne!(second.backend, gone);
        second.echo("here")?;
        other.echo("and there")
    })
}

fn a_duplicate_syn_does_not_move_a_live_flow(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        talk.echo("before")?;
        // So that a new choice would be another one.
        ebb.deregister(&talk.backend, &[])?;
        let accepted = || {
            site.backends
                .iter()
                .map(|backend| backend.talker.accepted())
                .sum::<usize>()
        };
        let before = accepted();
        let syns = Syns::open(&site.client)?;
        for _ in 0..3 {
            syns.send(talk.local.port(), talk.vip)?;
        }
        for _ in 0..3 {
            talk.echo("after")?;
        }
        assert_eq!(accepted(), before);
        assert_eq!(ebb.backend(&talk.backend)?.flows, 1);
        Ok(())
    })
}
