//! What a client asks for, and the CPU time of the whole machine that it takes.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use tests::lab::site::{FILE_SIZE, Site};

/// Something that a client does.
pub(crate) struct Task {
    /// What the numbers are.
    pub(crate) unit: &'static str,
    path: &'static str,
    times: u32,
    /// What the CPU seconds of one time are multiplied with.
    scale: f64,
    more: &'static [&'static str],
}

/// The costs of one round, in the units of [`TASKS`].
pub(crate) type Measured = [f64; TASKS.len()];

const MICROSECONDS: f64 = 1e6;

pub(crate) const TASKS: [Task; 3] = [
    Task {
        unit: "CPU seconds per GiB",
        path: "/file",
        times: 64,
        scale: (1 << 30) as f64 / FILE_SIZE as f64,
        more: &[],
    },
    Task {
        unit: "CPU µs per request on a kept connection",
        path: "/",
        times: 4000,
        scale: MICROSECONDS,
        more: &[],
    },
    Task {
        unit: "CPU µs per request on a connection of its own",
        path: "/",
        times: 2000,
        scale: MICROSECONDS,
        more: &["--header", "Connection: close"],
    },
];

/// All tasks, one after the other.
pub(crate) fn all(site: &Site, server: &str) -> Result<Measured> {
    let mut costs = [0.0; TASKS.len()];
    for (cost, task) in costs.iter_mut().zip(&TASKS) {
        let before = cpu_seconds()?;
        task.run(site, server)?;
        *cost = (cpu_seconds()? - before) / f64::from(task.times) * task.scale;
    }
    Ok(costs)
}

impl Task {
    fn run(&self, site: &Site, server: &str) -> Result<()> {
        let mut curl = site.client.command("curl");
        curl.args(["--silent", "--show-error", "--fail", "--http1.1"]);
        curl.args(["--max-time", "60", "--write-out", "%{stderr}.", "--output"]);
        curl.arg("/dev/null").args(self.more);
        curl.arg(format!("http://{server}{}?[1-{}]", self.path, self.times));
        let done = curl.output().context("cannot start curl")?;
        let said = String::from_utf8_lossy(&done.stderr);
        ensure!(done.status.success(), "{}: {said}", self.path);
        ensure!(
            said.len() == self.times as usize,
            "{} answers of {}: {said}",
            said.len(),
            self.times
        );
        Ok(())
    }
}

/// What all CPUs have been at work since the machine started.
fn cpu_seconds() -> Result<f64> {
    /// How many of these the kernel counts in a second (`USER_HZ`).
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    // user nice system idle iowait irq softirq (proc(5))
    let numbers = line.split_whitespace().skip(1).map(str::parse::<u64>);
    let numbers = numbers.collect::<Result<Vec<_>, _>>()?;
    let [user, nice, system, _, _, irq, softirq, ..] = numbers[..] else {
        anyhow::bail!("/proc/stat begins with {line:?}");
    };
    Ok((user + nice + system + irq + softirq) as f64 / TICKS)
}
