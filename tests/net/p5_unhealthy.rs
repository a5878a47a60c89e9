//! P5: an unhealthy backend gets no new flows; its open flows go on with no
//! time limit. With draining disabled, deregistration and ill health close
//! flows at once.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_userspace::{
    model::Mode,
    wire::{HealthByHand, State},
};
use tests::lab::{
    agent::Settings,
    conversation::{Conversation, How},
    curl, wait,
};

use crate::scene::{SOON, in_each_mode, play};

in_each_mode! {
    an_unhealthy_backend_keeps_its_flows_past_any_timeout,
    with_draining_disabled_ill_health_closes_flows_at_once,
    with_draining_disabled_deregistration_closes_flows_at_once,
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
