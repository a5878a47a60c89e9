//! A site whose agent serves the console, and a browser that shows it.

use std::panic::{self, AssertUnwindSafe};

use anyhow::{Context as _, Result};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{Ebb, Settings},
    site::Site,
};

use crate::webdriver::Browser;

/// Where the console is when only the balancer itself may ask.
pub(crate) const LOOPBACK: &str = "127.0.0.1:8090";
/// Where it is for the client's host, which then must log in.
pub(crate) const OUTSIDE: &str = "10.0.0.1:8090";

pub(crate) const KEY: &str = "anna";
pub(crate) const SECRET: &str = "correct horse battery staple";

/// A desktop's window.
pub(crate) const DESKTOP: (u32, u32) = (1180, 1010);
/// A phone's.
pub(crate) const PHONE: (u32, u32) = (500, 1010);

pub(crate) struct Scene<'s> {
    pub(crate) site: &'s Site,
    pub(crate) ebb: Ebb<'s>,
    pub(crate) browser: Browser<'s>,
    pub(crate) url: String,
}

/// Has `act` play with a browser where the console listens on `listen`.
pub(crate) fn play(
    listen: &str,
    window: (u32, u32),
    settings: &Settings,
    act: impl FnOnce(&Scene<'_>) -> Result<()>,
) -> Result<()> {
    let site = Site::new(Mode::Nat)?;
    let (host, keys) = match listen {
        LOOPBACK => (&site.balancer, String::new()),
        _ => (
            &*site.client,
            format!("access_keys = {{ {KEY} = {SECRET:?} }}\n"),
        ),
    };
    let configuration = format!(
        "{}\n[console]\nlisten = \"{listen}\"\n{keys}",
        settings.write(&site)
    );
    let ebb = Ebb::start_with(&site, &configuration).with_context(|| site.describe())?;
    ebb.wait_in_service()?;
    let scene = Scene {
        site: &site,
        browser: Browser::start(host, site.dir(), window)?,
        ebb,
        url: format!("http://{listen}/"),
    };
    let played = panic::catch_unwind(AssertUnwindSafe(|| act(&scene)));
    if !matches!(played, Ok(Ok(()))) {
        // The harness shows what a failed test prints.
        print!("{}", scene.ebb.describe());
        if let Err(error) = scene.browser.screenshot("failed") {
            println!("{error:#}");
        }
        println!("the page complained: {:?}", scene.browser.complaints());
    }
    played.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

impl Scene<'_> {
    /// Opens the console and goes, by clicks alone, to the instances of `web`.
    pub(crate) fn go_to_instances(&self) -> Result<()> {
        self.browser.go(&self.url)?;
        self.browser.click("#all a")?;
        self.browser.click("#tab-instances")?;
        self.browser.wait_text("#backends", "web-3")
    }
}
