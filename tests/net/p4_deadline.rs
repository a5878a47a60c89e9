//! P4: at the deadline every flow that is left, idle ones too, is closed at
//! both ends with a RST that the peer's stack accepts.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_userspace::{model::Mode, wire::DrainOutcome};
use tests::lab::{
    agent::{LB, Settings},
    conversation::{Conversation, How},
    curl::{CUT, Download},
    site::{FILE_SIZE, Site},
};

use crate::scene::{SOON, in_each_mode, play};

const TIMEOUT: Duration = Duration::from_secs(3);
const TOLERANCE: Duration = Duration::from_millis(300);

in_each_mode! {
    idle_and_busy_flows_are_reset_at_both_ends,
    a_download_is_cut,
    the_command_that_waits_exits_with_3_and_the_number,
    now_means_now,
}

/// Fails unless both ends of `talk` were reset at `when`, and their kernels
/// have forgotten them.
fn assert_reset(site: &Site, talk: &Conversation, when: Instant) -> Result<()> {
    let backend = site.backend(&talk.backend)?;
    let left = when.saturating_duration_since(Instant::now()) + SOON;
    let client = talk.wait_end(left)?;
    let server = backend.talker.wait_end_of(talk.seen_as, SOON)?;
    for (side, end) in [("client", client), ("server", server)] {
        let off = if end.at > when {
            end.at - when
        } else {
            when - end.at
        };
        assert_eq!(end.how, How::Reset, "the {side}'s end");
        assert!(off <= TOLERANCE, "the {side}'s end is {off:?} off");
    }
    assert!(
        !site.client.has_connection(talk.local, talk.vip)?,
        "the client still has it"
    );
    let server_end = backend.host.connections()?;
    assert!(
        !server_end.iter().any(|socket| socket.peer == talk.seen_as),
        "the server still has it: {server_end:?}"
    );
    Ok(())
}

fn idle_and_busy_flows_are_reset_at_both_ends(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let idle = Conversation::open(&site.client, site.talkers())?;
        let spoken = Conversation::open_with(&site.client, site.talkers(), &idle.backend)?;
        spoken.echo("and silent since")?;
        let busy = Conversation::open_with(&site.client, site.talkers(), &idle.backend)?;
        busy.talk_on()?;
        let begun = Instant::now();
        ebb.deregister(
            &idle.backend,
            &["--timeout", &TIMEOUT.as_secs().to_string()],
        )?;
        for talk in [&idle, &spoken, &busy] {
            assert_reset(site, talk, begun + TIMEOUT)?;
        }
        let gone = ebb.wait_gone(&idle.backend, SOON)?;
        assert_eq!(gone.flows, 0);
        assert_eq!(
            gone.drain.and_then(|drain| drain.outcome),
            Some(DrainOutcome::Cut { flows: 3 })
        );
        Ok(())
    })
}

fn a_download_is_cut(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let url = site.url(&format!("/file?rate={}", FILE_SIZE / 10));
        let mut download = Download::start(&site.client, &url, site.dir(), "download")?;
        let id = download.backend()?;
        let begun = Instant::now();
        ebb.deregister(&id, &["--timeout", "3"])?;
        let cut = download.wait(TIMEOUT + SOON)?;
        assert_eq!(cut.exit, CUT);
        assert!(
            (cut.ended - begun).abs_diff(TIMEOUT) <= TOLERANCE,
            "{:?}",
            cut.ended - begun
        );
        assert!(
            site.file.starts_with(&cut.body),
            "what came is what was sent"
        );
        ebb.wait_gone(&id, SOON)?;
        let left = site.backend(&id)?.host.connections()?;
        assert!(
            !left.iter().any(|socket| socket.state == "ESTAB"),
            "{left:?}"
        );
        Ok(())
    })
}

fn the_command_that_waits_exits_with_3_and_the_number(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let _other = Conversation::open_with(&site.client, site.talkers(), &talk.backend)?;
        let done = ebb.run(&[
            "backend",
            "deregister",
            LB,
            &talk.backend,
            "--timeout",
            "1",
            "--wait",
        ])?;
        assert_eq!(done.exit, 3, "{done:?}");
        assert!(done.stdout.contains("2 flows"), "{done:?}");
        Ok(())
    })
}

fn now_means_now(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let begun = Instant::now();
        ebb.deregister(&talk.backend, &["--now"])?;
        assert_reset(site, &talk, begun)
    })
}
