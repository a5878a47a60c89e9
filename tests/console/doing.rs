//! Settings, changed in the page: the original's documentation, step by step.

use anyhow::Result;
use tests::lab::agent::{LB, Settings};

use crate::{
    scene::{DESKTOP, LOOPBACK, play},
    webdriver::ESCAPE,
};

fn without_draining() -> Settings {
    Settings {
        draining: false,
        ..Settings::default()
    }
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn the_documentations_own_steps_change_the_attribute() -> Result<()> {
    play(LOOPBACK, DESKTOP, &without_draining(), |scene| {
        let browser = &scene.browser;
        // Open the console, select the load balancer, …
        browser.go(&scene.url)?;
        browser.click("#all a")?;
        browser.wait_text("#facts", "10.0.0.100")?;
        browser.screenshot("description")?;
        // … on the Instances tab, for Connection Draining, choose (Edit), …
        browser.click("#tab-instances")?;
        browser.wait_text(".setting", "Connection Draining: Disabled")?;
        browser.click("#edit-draining")?;
        // … select Enable Connection Draining, type a timeout, …
        browser.click("#draining-dialog [name=enabled]")?;
        browser
            .find("#draining-dialog [name=timeout]")?
            .fill("45")?;
        browser.screenshot("connection-draining")?;
        // … and choose Save.
        browser.click("#draining-dialog .primary")?;
        browser.wait_text(".setting", "Connection Draining: Enabled, 45 seconds")?;
        let shown: serde_json::Value = scene.ebb.json(&["attributes", "show", LB])?;
        assert_eq!(
            shown["connection_draining"],
            serde_json::json!({ "enabled": true, "timeout": 45 })
        );
        browser.click("#tab-attributes")?;
        browser.wait_text("#settings", "Enabled, 45 seconds")?;
        assert_eq!(browser.complaints()?, [""; 0]);
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_bad_timeout_is_refused_in_the_page_and_by_the_agent() -> Result<()> {
    play(LOOPBACK, DESKTOP, &Settings::default(), |scene| {
        let browser = &scene.browser;
        scene.go_to_instances()?;
        browser.click("#edit-draining")?;
        let timeout = browser.find("#draining-dialog [name=timeout]")?;
        let save = browser.find("#draining-dialog .primary")?;
        for bad in ["0", "3601", "-5", "1.5", "1e2", "soon", " "] {
            timeout.fill(bad)?;
            browser.wait_text("#timeout-problem", "from 1 to 3600")?;
            assert!(!save.enabled()?, "{bad:?} can be saved");
        }
        browser.screenshot("bad-timeout")?;
        for good in ["1", "3600"] {
            timeout.fill(good)?;
            assert!(save.enabled()?, "{good} cannot be saved");
            assert_eq!(browser.text("#timeout-problem")?, "");
        }
        timeout.keys(ESCAPE)?;
        assert!(browser.look_for("#draining-dialog")?.is_none());

        // Whoever goes round the page's own check.
        let answer = browser.script(
            "return fetch('v1/load-balancers/web/attributes', {
                method: 'PATCH',
                headers: { 'content-type': 'application/json' },
                body: JSON.stringify({ connection_draining: { timeout: 3601 } }),
            }).then(async (answer) => [answer.status, (await answer.json()).error.message])",
        )?;
        assert_eq!(answer[0], 400, "{answer}");
        assert!(answer[1].to_string().contains("3600"), "{answer}");
        browser.wait_text(".setting", "Enabled, 300 seconds")
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_instance_is_registered_and_a_bad_one_refused() -> Result<()> {
    let two = Settings {
        backends: vec!["web-1".to_owned(), "web-2".to_owned()],
        ..Settings::default()
    };
    play(LOOPBACK, DESKTOP, &two, |scene| {
        let browser = &scene.browser;
        browser.go(&format!("{}#/{LB}/instances", scene.url))?;
        browser.wait_text("#backends", "web-2")?;
        browser
            .find("#register [name=address]")?
            .fill("127.0.0.1")?;
        browser.click("#register .primary")?;
        browser.wait_text("#register .problem", "127.0.0.1")?;
        browser.find("#register [name=id]")?.fill("web-3")?;
        browser
            .find("#register [name=address]")?
            .fill("10.0.1.13")?;
        browser.click("#register .primary")?;
        browser.wait_text("#backends", "web-3")?;
        assert_eq!(browser.text("#register .problem")?, "");
        assert_eq!(scene.ebb.load_balancer()?.backends.len(), 3);
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn a_health_check_is_set_and_its_results_are_seen() -> Result<()> {
    play(LOOPBACK, DESKTOP, &Settings::default(), |scene| {
        let browser = &scene.browser;
        browser.go(&format!("{}#/{LB}/health-check", scene.url))?;
        browser.wait_text("#check", "none: registered instances count as healthy")?;
        browser.click("#edit-check")?;
        browser.click("#check-dialog [name=enabled]")?;
        browser
            .find("#check-dialog [name=target]")?
            .fill("HTTP:8080/")?;
        browser.find("#check-dialog [name=interval]")?.fill("3")?;
        // As long as the interval: refused as typed.
        browser.wait_text("#check-dialog .problem", "less than the interval")?;
        browser.find("#check-dialog [name=timeout]")?.fill("2")?;
        // What only the agent knows is refused by the agent.
        browser.find("#check-dialog [name=target]")?.fill("PING")?;
        browser.click("#check-dialog .primary")?;
        browser.wait_text("#check-dialog .problem", "PING")?;
        browser
            .find("#check-dialog [name=target]")?
            .fill("HTTP:8080/")?;
        browser.click("#check-dialog .primary")?;
        browser.wait_text("#check", "HTTP:8080/")?;
        browser.wait_text("#checks tr[data-key=web-3]", "passed in")?;
        browser.screenshot("health-check")?;

        browser.click("#edit-check")?;
        browser
            .find("#check-dialog [name=target]")?
            .fill("HTTP:8080/missing")?;
        browser.click("#check-dialog .primary")?;
        browser.wait_text("#checks tr[data-key=web-3]", "404")?;
        browser.click("#tab-instances")?;
        browser.wait_text("#backends tr[data-key=web-3]", "UnhealthyThreshold")?;
        browser.wait_text("#backends tr[data-key=web-3]", "OutOfService")
    })
}
