//! Who may look: from another host, only who has logged in.

use anyhow::Result;
use tests::lab::agent::Settings;

use crate::scene::{DESKTOP, KEY, OUTSIDE, SECRET, play};

#[test]
#[ignore = "needs root: cargo xtask test"]
fn from_elsewhere_one_logs_in_and_out() -> Result<()> {
    play(OUTSIDE, DESKTOP, &Settings::default(), |scene| {
        let browser = &scene.browser;
        let status =
            || browser.script("return fetch('v1/load-balancers').then((answer) => answer.status)");
        browser.go(&scene.url)?;
        let log_in = |secret: &str| -> Result<()> {
            browser.find("#login [name=key]")?.fill(KEY)?;
            browser.find("#login [name=secret]")?.fill(secret)?;
            browser.click("#login .primary")
        };
        assert_eq!(status()?, 401);
        log_in("guess")?;
        browser.wait_text("#login .problem", "no access key")?;
        assert_eq!(status()?, 401);
        browser.screenshot("login")?;
        log_in(SECRET)?;
        browser.wait_text("#all", "3 in service")?;
        assert_eq!(status()?, 200);
        // No script can read what proves it.
        assert_eq!(browser.script("return document.cookie")?, "");
        browser.click("#logout")?;
        browser.find("#login")?;
        assert_eq!(status()?, 401);
        Ok(())
    })
}
