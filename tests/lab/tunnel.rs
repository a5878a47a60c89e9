//! A backend's end of ipip: `ebb decap` on its interface.

use std::{env, path::PathBuf, time::Duration};

use anyhow::{Context as _, Result};

use super::{
    host::Host,
    process::Process,
    site::{Site, VIP_V4, VIP_V4_IN_V6, VIP_V6},
    wait,
};

/// The running program; it detaches when dropped.
#[derive(Debug)]
pub struct Tunnel {
    _process: Process,
}

impl Tunnel {
    /// Opens what comes to `host`, a backend of the site, for any VIP.
    pub fn open(site: &Site, host: &Host) -> Result<Self> {
        let binary = env::var_os("EBB_BIN")
            .map(PathBuf::from)
            .context("EBB_BIN does not name the ebb to run; `cargo xtask test` sets it")?;
        let mut command = host.command(binary);
        command.args(["decap", "--interface", "eth0"]);
        for vip in [
            VIP_V4.to_string(),
            VIP_V4_IN_V6.to_string(),
            VIP_V6.to_string(),
        ] {
            command.args(["--vip", &vip]);
        }
        let log = site.dir().join(format!("decap-{}.log", host.name));
        let mut process = Process::start("ebb decap", &mut command, &log)?;
        let what = format!("ebb decap on {}", host.name);
        wait::until_true(&what, Duration::from_secs(15), || {
            process.expect_running()?;
            Ok(process.printed().contains("eth0"))
        })?;
        Ok(Self { _process: process })
    }
}
