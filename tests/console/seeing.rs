//! The page itself: on a phone, in the dark, without a mouse.

use anyhow::Result;
use tests::lab::agent::{LB, Settings};

use crate::{
    scene::{DESKTOP, LOOPBACK, PHONE, play},
    webdriver::{ENTER, ESCAPE, LEFT, RIGHT},
};

#[test]
#[ignore = "needs root: cargo xtask test"]
fn it_fits_a_phone_in_light_and_dark() -> Result<()> {
    play(LOOPBACK, PHONE, &Settings::default(), |scene| {
        let browser = &scene.browser;
        let colour = || browser.script("return getComputedStyle(document.body).backgroundColor");
        for tab in ["description", "instances", "health-check", "attributes"] {
            browser.go(&format!("{}#/{LB}/{tab}", scene.url))?;
            browser.wait_text("#name", LB)?;
            let too_wide = browser.script(
                "return document.documentElement.scrollWidth - document.documentElement.clientWidth",
            )?;
            assert_eq!(too_wide, 0, "{tab}");
        }
        browser.go(&format!("{}#/{LB}/instances", scene.url))?;
        browser.wait_text("#backends", "web-3")?;
        let before = colour()?;
        browser.screenshot("phone-light")?;
        browser.click("#theme")?;
        assert_ne!(before, colour()?);
        browser.screenshot("phone-dark")?;
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn it_is_used_by_keyboard_alone() -> Result<()> {
    play(LOOPBACK, DESKTOP, &Settings::default(), |scene| {
        let browser = &scene.browser;
        browser.go(&scene.url)?;
        browser.find("#all a")?.keys(ENTER)?;
        browser.wait_text("#name", LB)?;
        let focused = || browser.script("return document.activeElement.id");
        browser.find("#tab-description")?.keys(RIGHT)?;
        assert_eq!(focused()?, "tab-instances");
        browser.find("#instances")?;
        browser.find("#tab-instances")?.keys(LEFT)?;
        browser.find("#tab-description")?.keys(LEFT)?;
        assert_eq!(focused()?, "tab-attributes");
        browser.find("#tab-attributes")?.keys(RIGHT)?;
        browser.find("#tab-description")?.keys(RIGHT)?;
        browser.find("#edit-draining")?.keys(ENTER)?;
        let timeout = browser.find("#draining-dialog [name=timeout]")?;
        timeout.fill("60")?;
        timeout.keys(ENTER)?;
        browser.wait_text(".setting", "Enabled, 60 seconds")?;
        browser.find("#edit-draining")?.keys(ENTER)?;
        browser
            .find("#draining-dialog [name=timeout]")?
            .keys(ESCAPE)?;
        // Back where one was.
        assert_eq!(focused()?, "edit-draining");
        Ok(())
    })
}
