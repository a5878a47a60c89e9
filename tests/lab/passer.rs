//! A program at the other end of the balancer's link to the clients.
//!
//! What XDP sends back out of a veth arrives at once only if the other end has a
//! program too: here one that has nothing to open, and passes all.

use std::time::Duration;

use anyhow::Result;

use super::{agent, process::Process, site::Site, wait};

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// The program on the switch; gone when dropped.
#[derive(Debug)]
pub struct Passer {
    _process: Process,
}

impl Passer {
    pub fn start(site: &Site) -> Result<Self> {
        let port = site.balancers_port();
        let mut command = site.switch.command(agent::binary()?);
        command.args(["decap", "--interface", &port, "--vip", "192.0.2.1"]);
        let log = site.dir().join("passer.log");
        let mut process = Process::start("ebb decap", &mut command, &log)?;
        wait::until_true("the program on the switch", PATIENCE, || {
            process.expect_running()?;
            Ok(process.printed().contains(&port))
        })?;
        Ok(Self { _process: process })
    }
}
