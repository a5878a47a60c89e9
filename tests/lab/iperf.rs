//! iperf3: bulk transfers, both ways.

use std::{cell::Cell, net::IpAddr, time::Duration};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{host::Host, namespace::output, process::Process, site::Site, wait};

/// Where the servers listen.
pub const PORT: u16 = 5201;

/// An iperf3 server; stopped when dropped.
#[derive(Debug)]
pub struct Server {
    process: Process,
    /// Transfers so far.
    made: Cell<usize>,
}

impl Server {
    pub fn start(site: &Site, host: &Host) -> Result<Self> {
        let mut command = host.command("iperf3");
        command.args(["--server", "--forceflush", "--port", &PORT.to_string()]);
        let log = site.dir().join(format!("iperf3-{}.log", host.name));
        let mut process = Process::start("iperf3", &mut command, &log)?;
        wait::until_true("iperf3 to listen", Duration::from_secs(10), || {
            process.expect_running()?;
            Ok(host.run("ss", &["-Hltn"])?.contains(&format!(":{PORT} ")))
        })?;
        Ok(Self {
            process,
            made: Cell::new(0),
        })
    }

    /// Transfers for a second and a half, and returns how many bytes arrived.
    pub fn transfer(&self, client: &Host, to: IpAddr, direction: Direction) -> Result<u64> {
        // It serves one client at a time, and resets another who comes before it is done.
        let made = self.made.replace(self.made.get() + 1);
        wait::until_true("iperf3 to be done", Duration::from_secs(10), || {
            Ok(self.process.printed().matches("Server listening").count() > made)
        })?;
        transfer(client, to, direction)
    }
}

/// Which way the bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

fn transfer(client: &Host, to: IpAddr, direction: Direction) -> Result<u64> {
    let mut command = client.command("iperf3");
    command.args(["--json", "--time", "1.5", "--connect-timeout", "3000"]);
    command.args(["--port", &PORT.to_string(), "--client", &to.to_string()]);
    if direction == Direction::ToClient {
        command.arg("--reverse");
    }
    let report: Value = serde_json::from_str(&output(&mut command)?)?;
    let bytes = report["end"]["sum_received"]["bytes"].as_u64();
    bytes.with_context(|| format!("iperf3 to {to} reports {report}"))
}
