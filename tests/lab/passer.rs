//! A program at the other end of each of the balancer's links.
//!
//! What XDP sends back out of a veth arrives at once only if the other end has a
//! program too: here one that has nothing to open, and passes all. Without it the
//! resets that answer a server's data lie in the link's ring until something else
//! comes by, and when it is full, the agent's own resets find no room.

use std::time::Duration;

use anyhow::Result;

use super::{agent, process::Process, site::Site, wait};

/// How long it may take to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// The programs on the switch; gone when dropped.
#[derive(Debug)]
pub struct Passer {
    _process: Process,
}

impl Passer {
    pub fn start(site: &Site) -> Result<Self> {
        let ports = site.balancers_ports();
        let mut command = site.switch.command(agent::binary()?);
        command.args(["decap", "--vip", "192.0.2.1"]);
        for port in &ports {
            command.args(["--interface", port]);
        }
        let log = site.dir().join("passer.log");
        let mut process = Process::start("ebb decap", &mut command, &log)?;
        wait::until_true("the programs on the switch", PATIENCE, || {
            process.expect_running()?;
            let printed = process.printed();
            Ok(ports.iter().all(|port| printed.contains(port)))
        })?;
        Ok(Self { _process: process })
    }
}
