//! A drain, as one sees it: it starts, runs down and ends.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tests::lab::{
    agent::{LB, Settings},
    conversation::Conversation,
    wait,
};

use crate::{
    scene::{DESKTOP, LOOPBACK, play},
    webdriver::SOON,
};

const ROW: &str = "#backends tr[data-key=web-2]";

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_drain_is_seen_to_start_run_down_and_end() -> Result<()> {
    let settings = Settings {
        drain_timeout: 120,
        ..Settings::default()
    };
    play(LOOPBACK, DESKTOP, &settings, |scene| {
        let browser = &scene.browser;
        let vip = scene.site.talkers();
        let talk = || Conversation::open(&scene.site.client, vip);
        let mut open = Vec::new();
        wait::until_true("eight flows on web-2", SOON, || {
            open.push(talk()?);
            Ok(open.iter().filter(|talk| talk.backend == "web-2").count() == 8)
        })?;
        let (mut leaving, mut staying): (Vec<_>, Vec<_>) =
            open.into_iter().partition(|talk| talk.backend == "web-2");
        scene.go_to_instances()?;
        wait::until_true("the flows to be shown", SOON, || {
            Ok(shown_flows(scene)? == 8)
        })?;
        pass(8)?;

        // Start.
        browser.click(&format!("{ROW} button"))?;
        browser.wait_text("#deregister-what", "120 seconds")?;
        browser.click("#deregister-dialog .primary")?;
        browser.wait_text(ROW, "Instance deregistration currently in progress.")?;
        browser.wait_text(ROW, "InService")?;
        assert_eq!(scene.ebb.backend("web-2")?.registration, "draining");

        // Run down: who leaves comes back, and to the others.
        let (mut flows, mut seconds) = (u64::MAX, u64::MAX);
        for left in [8, 6, 5, 3, 2, 1] {
            for _ in leaving.drain(left..) {
                staying.push(talk()?);
            }
            browser.wait_text(&format!("{ROW} .drain"), &format!("{left} of 8 flows left"))?;
            pass(2)?;
            let [flows_now, seconds_now] = bars(scene)?;
            assert_eq!(flows_now, left as u64 * 125);
            assert!(
                flows_now < flows && seconds_now < seconds,
                "it does not run down"
            );
            (flows, seconds) = (flows_now, seconds_now);
            if left == 3 {
                browser.screenshot("draining")?;
            }
        }
        assert!(staying.iter().all(|talk| talk.backend != "web-2"));
        assert_eq!(
            browser.script("return document.querySelectorAll('#chart polygon').length")?,
            3
        );

        // End.
        drop(leaving);
        wait::until_true("the drain to end", SOON, || {
            Ok(browser.look_for(ROW)?.is_none())
        })?;
        browser.wait_text("#all", "2 in service")?;
        browser.screenshot("drained")?;
        let gone = scene.ebb.backend("web-2")?;
        assert_eq!(
            gone.drain.context("it drained")?.outcome,
            Some(lb_userspace::wire::DrainOutcome::Ended)
        );
        staying.iter().try_for_each(Conversation::talk_on)?;
        assert_eq!(browser.complaints()?, [""; 0]);
        Ok(())
    })
}

/// By hand, on the command line; seen in the page, and taken back there.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_drain_begun_elsewhere_is_seen_and_taken_back() -> Result<()> {
    play(LOOPBACK, DESKTOP, &Settings::default(), |scene| {
        let browser = &scene.browser;
        let talk = Conversation::open_with(&scene.site.client, scene.site.talkers(), "web-2")?;
        scene.go_to_instances()?;
        scene.ebb.wait_flows("web-2", 1, SOON)?;
        scene.ebb.run(&["backend", "deregister", LB, "web-2"])?;
        browser.wait_text(ROW, "Register again")?;
        browser.click(&format!("{ROW} button"))?;
        browser.wait_text(ROW, "Deregister")?;
        assert_eq!(scene.ebb.backend("web-2")?.registration, "registered");
        talk.talk_on()
    })
}

/// Lets some seconds go by, which the drain itself and its chart are made of.
fn pass(seconds: u64) -> Result<()> {
    wait::till(Instant::now() + Duration::from_secs(seconds))
}

fn shown_flows(scene: &crate::scene::Scene<'_>) -> Result<u64> {
    let text = scene.browser.text(&format!("{ROW} td:nth-child(4)"))?;
    Ok(text.trim().parse().unwrap_or(0))
}

/// How long the two bars are, of a thousand.
fn bars(scene: &crate::scene::Scene<'_>) -> Result<[u64; 2]> {
    let script = format!(
        "return [...document.querySelectorAll('{ROW} .bar i')].map((bar) => Math.round(parseFloat(bar.style.width) * 10))"
    );
    Ok(serde_json::from_value(scene.browser.script(&script)?)?)
}
