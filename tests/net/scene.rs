//! The scene of most tests: a site with ebb running on its balancer, and all
//! that can be known of it shown when the test fails.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{Ebb, Settings},
    site::Site,
};

/// Long enough for what should happen at once.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// Has `act` play where `web-1` to `web-3` are in service.
pub(crate) fn play(
    mode: Mode,
    settings: &Settings,
    act: impl FnOnce(&Site, &mut Ebb<'_>) -> Result<()>,
) -> Result<()> {
    play_at(&Site::new(mode)?, settings, act)
}

/// As [`play`], at a site of one's own.
pub(crate) fn play_at(
    site: &Site,
    settings: &Settings,
    act: impl FnOnce(&Site, &mut Ebb<'_>) -> Result<()>,
) -> Result<()> {
    play_with(site, &settings.write(site), |site, ebb| {
        ebb.wait_in_service()?;
        act(site, ebb)
    })
}

/// As [`play_at`], with a configuration of one's own, which may put nobody in
/// service.
pub(crate) fn play_with(
    site: &Site,
    configuration: &str,
    act: impl FnOnce(&Site, &mut Ebb<'_>) -> Result<()>,
) -> Result<()> {
    let ebb = Ebb::start_with(site, configuration).with_context(|| site.describe())?;
    play_on(site, ebb, act)
}

/// As [`play_with`], with an agent that was started already.
pub(crate) fn play_on<'s>(
    site: &'s Site,
    mut ebb: Ebb<'s>,
    act: impl FnOnce(&Site, &mut Ebb<'_>) -> Result<()>,
) -> Result<()> {
    let played = panic::catch_unwind(AssertUnwindSafe(|| act(site, &mut ebb)));
    if !matches!(played, Ok(Ok(()))) {
        // The harness shows what a failed test prints.
        print!("{}{}", ebb.describe(), site.describe());
    }
    played.unwrap_or_else(|panic| panic::resume_unwind(panic))
}

/// A test for each forwarding mode, made of one that takes the mode.
macro_rules! in_each_mode {
    ($($(#[doc = $doc:literal])* $name:ident),+ $(,)?) => {$(
        $(#[doc = $doc])*
        mod $name {
            use lb_userspace::model::Mode;

            #[test]
            #[ignore = "needs root: cargo xtask test"]
            fn nat() -> anyhow::Result<()> {
                super::$name(Mode::Nat)
            }

            #[test]
            #[ignore = "needs root: cargo xtask test"]
            fn dsr() -> anyhow::Result<()> {
                super::$name(Mode::Dsr)
            }
        }
    )+};
}
pub(crate) use in_each_mode;

/// The folder of the agent's pinned maps.
pub(crate) fn pins(bpffs_dir: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(bpffs_dir)? {
        let path = entry?.path();
        if path.join("FLOWS_V4").exists() {
            return Ok(path);
        }
    }
    anyhow::bail!("no maps are pinned in {}", bpffs_dir.display())
}
