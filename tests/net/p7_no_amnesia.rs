//! P7: states, attributes, drains and their deadlines survive a crash and a
//! restart; while the agent is down the kernel keeps forwarding, and a
//! deadline that passed meanwhile is enforced on return.

use std::time::{Duration, Instant};

use anyhow::Result;
use lb_userspace::model::Mode;
use tests::lab::{
    agent::Settings,
    conversation::{Conversation, How},
    curl, wait,
};

use crate::scene::{SOON, in_each_mode, play};

in_each_mode! {
    a_drain_goes_on_after_a_crash_with_the_deadline_it_had,
    a_deadline_that_passed_meanwhile_is_enforced_on_return,
    what_was_set_by_hand_stays_set,
}

fn a_drain_goes_on_after_a_crash_with_the_deadline_it_had(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let begun = Instant::now();
        ebb.deregister(&talk.backend, &["--timeout", "4"])?;
        ebb.crash()?;
        let tally = curl::many(&site.client, &site.url("/"), 100)?;
        assert_eq!((tally.of(&talk.backend), tally.failed), (0, 0), "{tally:?}");
        talk.echo("while it is down")?;
        ebb.launch()?;
        assert_eq!(ebb.backend(&talk.backend)?.registration, "draining");
        talk.echo("after")?;
        let end = talk.wait_end(SOON * 3)?;
        assert_eq!(end.how, How::Reset);
        let off = (end.at - begun).abs_diff(Duration::from_secs(4));
        assert!(off <= Duration::from_millis(500), "{off:?} off");
        Ok(())
    })
}

fn a_deadline_that_passed_meanwhile_is_enforced_on_return(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let begun = Instant::now();
        ebb.deregister(&talk.backend, &["--timeout", "1"])?;
        ebb.crash()?;
        wait::till(begun + Duration::from_secs(2))?;
        talk.echo("nobody enforces it")?;
        ebb.launch()?;
        let server = &site.backend(&talk.backend)?.talker;
        for end in [
            talk.wait_end(SOON)?,
            server.wait_end_of(talk.seen_as, SOON)?,
        ] {
            assert_eq!(end.how, How::Reset);
        }
        ebb.wait_gone(&talk.backend, SOON).map(drop)
    })
}

fn what_was_set_by_hand_stays_set(mode: Mode) -> Result<()> {
    use lb_userspace::wire::{Attributes, HealthByHand};
    use tests::lab::agent::LB;

    play(mode, &Settings::default(), |_, ebb| {
        ebb.deregister("web-1", &[])?;
        ebb.set_health("web-2", HealthByHand::Unhealthy)?;
        let set =
            ebb.json::<Attributes>(&["attributes", "set", LB, "connection-draining.timeout=77"])?;
        assert_eq!(set.connection_draining.timeout, 77);
        ebb.crash()?;
        ebb.launch()?;
        let lb = ebb.load_balancer()?;
        assert_eq!(lb.attributes, set);
        let ids: Vec<_> = lb
            .backends
            .iter()
            .map(|backend| (&*backend.id, &*backend.health))
            .collect();
        assert_eq!(ids, [("web-2", "unhealthy"), ("web-3", "healthy")]);
        Ok(())
    })
}
