//! Health checks, from the agent to real servers and back.

use std::time::Duration;

use anyhow::Result;
use lb_userspace::{model::Mode, wire::State};
use rustix::process::Signal;
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::Conversation,
    curl, wait,
};

use crate::scene::{SOON, in_each_mode, play};

in_each_mode! {
    a_server_that_stops_answering_gets_no_new_flows_until_it_does,
    a_new_backend_waits_for_its_first_success,
}

const PATIENCE: Duration = Duration::from_secs(10);

fn checked() -> Settings {
    Settings {
        health_check: "target = \"HTTP:80/\"\ninterval = 1\ntimeout = 1\n\
                       unhealthy_threshold = 2\nhealthy_threshold = 2"
            .to_owned(),
        ..Settings::default()
    }
}

fn wait_state(ebb: &Ebb<'_>, id: &str, state: State) -> Result<()> {
    wait::until_true(&format!("{id} to be {state:?}"), PATIENCE, || {
        Ok(ebb.backend(id)?.state == state)
    })
}

fn a_server_that_stops_answering_gets_no_new_flows_until_it_does(mode: Mode) -> Result<()> {
    play(mode, &checked(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        let sick = &site.backend(&talk.backend)?.nginx;
        sick.signal(Signal::STOP)?;
        wait_state(ebb, &talk.backend, State::OutOfService)?;
        talk.echo("an open flow goes on")?;
        let tally = curl::many(&site.client, &site.url("/"), 100)?;
        assert_eq!((tally.of(&talk.backend), tally.failed), (0, 0), "{tally:?}");
        let last = ebb.backend(&talk.backend)?.last_check;
        let error = last.and_then(|last| last.error).unwrap_or_default();
        assert!(error.contains("took longer than 1 s"), "{error}");

        sick.signal(Signal::CONT)?;
        wait_state(ebb, &talk.backend, State::InService)?;
        talk.echo("and after that")?;
        let tally = curl::many(&site.client, &site.url("/"), 100)?;
        assert!(
            tally.of(&talk.backend) > 0 && tally.failed == 0,
            "{tally:?}"
        );

        let shown = ebb.run(&["backend", "list", LB])?.stdout;
        assert!(shown.contains("passed in"), "{shown}");
        let told = ebb.run(&["events", "--json"])?.stdout;
        assert!(
            told.contains("check_failed") && told.contains("took longer than 1 s"),
            "{told}"
        );
        Ok(())
    })
}

fn a_new_backend_waits_for_its_first_success(mode: Mode) -> Result<()> {
    let settings = Settings {
        backends: ["web-1", "web-2"].map(str::to_owned).into(),
        ..checked()
    };
    play(mode, &settings, |site, ebb| {
        let nginx = &site.backend("web-3")?.nginx;
        nginx.signal(Signal::STOP)?;
        let new = ebb.register("web-3")?;
        assert_eq!(
            new.description,
            "Instance registration is still in progress."
        );
        let tally = curl::many(&site.client, &site.url("/"), 50)?;
        assert_eq!((tally.of("web-3"), tally.failed), (0, 0), "{tally:?}");
        nginx.signal(Signal::CONT)?;
        wait_state(ebb, "web-3", State::InService)?;
        wait::until_true("web-3 to get its share", SOON, || {
            Ok(curl::many(&site.client, &site.url("/"), 50)?.of("web-3") > 0)
        })
    })
}
