//! P5: an unhealthy backend gets no new flows; its open flows go on with no
//! time limit. With draining disabled, deregistration and ill health close
//! flows at once.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use anyhow::Result;
use lb_userspace::{
    model::Mode,
    wire::{HealthByHand, State},
};
use tests::lab::{
    agent::Settings,
    conversation::{Conversation, How},
    curl, talker, wait,
};

use crate::scene::{SOON, in_each_mode, play};

in_each_mode! {
    an_unhealthy_backend_keeps_its_flows_past_any_timeout,
    with_draining_disabled_ill_health_closes_flows_at_once,
    with_draining_disabled_deregistration_closes_flows_at_once,
    a_conversation_whose_backend_fails_goes_on_with_another,
    a_conversation_that_is_to_be_kept_waits_for_its_backend,
}

/// The only port that a client ever speaks from.
const PORT: u16 = 42_000;

/// Who answers a client that never changes its port, once its backend fails; asked until
/// `done` says so.
fn asks_from_one_port(
    mode: Mode,
    on_unhealthy: &str,
    done: impl Fn(&str, &str) -> bool,
) -> Result<()> {
    let settings = Settings {
        more: format!("udp.on_unhealthy = \"{on_unhealthy}\""),
        ..Settings::default()
    };
    play(mode, &settings, |site, ebb| {
        let ask = || talker::ask_from(&site.client, PORT, site.talkers(), "again and again");
        let first = ask()?;
        // A datagram may be lost, and is then sent again.
        let answer = || ask().ok();
        // Where answers are not seen, what goes on for a second is a conversation.
        let begun = Instant::now();
        wait::until_true("the conversation to be one", SOON * 2, || {
            Ok(answer().is_some_and(|now| {
                assert_eq!(now, first);
                begun.elapsed() > Duration::from_millis(1500)
            }))
        })?;
        ebb.set_health(&first, HealthByHand::Unhealthy)?;
        wait::until_true("the right one to answer", SOON * 4, || {
            Ok(answer().is_some_and(|now| done(&first, &now)))
        })
    })
}

fn a_conversation_whose_backend_fails_goes_on_with_another(mode: Mode) -> Result<()> {
    asks_from_one_port(mode, "close", |first, now| now != first)
}

fn a_conversation_that_is_to_be_kept_waits_for_its_backend(mode: Mode) -> Result<()> {
    let failed = Cell::new(None);
    asks_from_one_port(mode, "keep", |first, now| {
        assert_eq!(now, first);
        let since = failed.get().unwrap_or_else(Instant::now);
        failed.set(Some(since));
        // Several rounds of the sweeper's.
        since.elapsed() > Duration::from_secs(4)
    })
}

fn an_unhealthy_backend_keeps_its_flows_past_any_timeout(mode: Mode) -> Result<()> {
    let settings = Settings {
        drain_timeout: 1,
        ..Settings::default()
    };
    play(mode, &settings, |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let id = &talk.backend;
        let answer = ebb.set_health(id, HealthByHand::Unhealthy)?;
        assert_eq!(answer.state, State::OutOfService);
        let started = Instant::now();
        let tally = curl::many(&site.client, &site.url("/"), 200)?;
        assert_eq!((tally.of(id), tally.failed), (0, 0), "{tally:?}");
        wait::till(started + Duration::from_secs(3))?;
        talk.echo("still here")?;
        ebb.set_health(id, HealthByHand::Auto)?;
        let tally = curl::many(&site.client, &site.url("/"), 200)?;
        assert!(tally.of(id) > 0, "new flows come back: {tally:?}");
        talk.echo("still here")
    })
}

/// Both ends of a conversation are reset as soon as `change` is made.
fn closes_at_once(
    mode: Mode,
    change: impl Fn(&tests::lab::agent::Ebb<'_>, &str) -> Result<()>,
) -> Result<()> {
    let settings = Settings {
        draining: false,
        ..Settings::default()
    };
    play(mode, &settings, |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let begun = Instant::now();
        change(ebb, &talk.backend)?;
        let server = &site.backend(&talk.backend)?.talker;
        for end in [
            talk.wait_end(SOON)?,
            server.wait_end_of(talk.seen_as, SOON)?,
        ] {
            assert_eq!(end.how, How::Reset);
            assert!(
                end.at - begun < Duration::from_millis(500),
                "after {:?}",
                end.at - begun
            );
        }
        let tally = curl::many(&site.client, &site.url("/"), 100)?;
        assert_eq!((tally.of(&talk.backend), tally.failed), (0, 0), "{tally:?}");
        Ok(())
    })
}

fn with_draining_disabled_ill_health_closes_flows_at_once(mode: Mode) -> Result<()> {
    closes_at_once(mode, |ebb, id| {
        ebb.set_health(id, HealthByHand::Unhealthy).map(drop)
    })
}

fn with_draining_disabled_deregistration_closes_flows_at_once(mode: Mode) -> Result<()> {
    closes_at_once(mode, |ebb, id| ebb.deregister(id, &[]).map(drop))
}
