//! An emulated machine: processors, memory, two serial lines, disks if it is given
//! any, and nothing else. What is in it says on the second line how it went.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdout, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::setup::Emulator;

/// What the guest's last line begins with; how it went follows.
pub(crate) const MARKER: &str = "ebb-guest: ";
/// The end of that line when every test passed.
pub(crate) const PASSED: &str = "passed";
/// The end of that line when the tests go on after the machine has restarted.
pub(crate) const RESTARTS: &str = "restarts";

/// What a machine is made of, and for how long it may run.
pub(crate) struct Plan<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
    /// What the kernel is told besides where its own words go.
    pub(crate) arguments: &'a str,
    /// Images of disks as they are, byte for byte.
    pub(crate) disks: &'a [&'a Path],
    /// At most so many processors.
    pub(crate) processors: usize,
    pub(crate) limit: Duration,
    /// Where the kernel's own words go.
    pub(crate) console: &'a Path,
}

/// How a run ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Passed,
    /// Whoever wants to see the rest boots it again, with the same disks.
    Restarts,
}

/// A machine that is running; off when dropped.
struct Machine {
    emulator: Child,
    lines: Receiver<String>,
}

/// Boots a machine, shows what the tests in it print, and returns when they are
/// over or the machine restarts.
pub(crate) fn run(emulator: &Emulator, plan: &Plan<'_>) -> Result<End> {
    let console = plan.console;
    let mut machine = Machine::start(emulator, plan)?;
    let verdict = machine.follow(plan.limit);
    let said = fs::read_to_string(console).unwrap_or_default();
    let end = match verdict?.as_deref() {
        Some(PASSED) => End::Passed,
        Some(RESTARTS) => End::Restarts,
        Some(verdict) => bail!("in the guest: {verdict}"),
        None => bail!(
            "the guest ended before the tests did; its kernel's last words, from {}:\n{}",
            console.display(),
            last_lines(&said)
        ),
    };
    // Tests that pass on a kernel that is hurt have not passed.
    if let Some(complaint) = complaint(&said) {
        bail!(
            "the tests passed, but the guest's kernel complained, see {}: {complaint}",
            console.display()
        );
    }
    Ok(end)
}

impl Machine {
    fn start(emulator: &Emulator, plan: &Plan<'_>) -> Result<Self> {
        // Of an earlier run nothing may be read.
        File::create(plan.console)
            .with_context(|| format!("cannot create {}", plan.console.display()))?;
        let processors =
            thread::available_parallelism().map_or(1, |n| n.get().min(plan.processors));
        // `panic=-1`: a kernel that panics restarts at once, and
        // `-no-reboot`: whoever restarts ends the emulator.
        let kernel_arguments = format!(
            "console=ttyS0 loglevel=5 panic=-1 oops=panic {}",
            plan.arguments
        );
        let mut command = emulator.command()?;
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            // Not KVM: a host that is a guest itself may offer one that hangs.
            .args(["-accel", "tcg", "-cpu", "max", "-m", "2G"])
            .args(["-smp", &processors.to_string(), "-display", "none"])
            .arg("-serial")
            .arg(joined("file:", plan.console))
            .args(["-serial", "stdio", "-kernel"])
            .arg(plan.kernel)
            .arg("-initrd")
            .arg(plan.initramfs)
            .args(["-append", &kernel_arguments])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        for disk in plan.disks {
            // Nothing that outlives the host's own crash is kept on it.
            command
                .arg("-drive")
                .arg(joined("if=virtio,format=raw,cache=unsafe,file=", disk));
        }
        // SAFETY: between fork and exec it makes one system call and
        // allocates nothing.
        unsafe {
            // A killed xtask leaves no machine behind.
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let mut emulator = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let output = emulator.stdout.take().expect("it was asked for");
        Ok(Self {
            emulator,
            lines: lines(output),
        })
    }

    /// Shows what the guest prints until it ends. Returns how the tests ended,
    /// if it came to that.
    fn follow(&mut self, limit: Duration) -> Result<Option<String>> {
        let deadline = Instant::now() + limit;
        let mut verdict = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match line.strip_prefix(MARKER) {
                    Some(said) => verdict = Some(said.to_owned()),
                    None => println!("{line}"),
                },
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the tests were not over after {} min", limit.as_secs() / 60)
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = self
            .emulator
            .wait()
            .context("cannot wait for the emulator")?;
        if !status.success() {
            bail!("the emulator: {status}");
        }
        Ok(verdict)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Neither fails but for a machine that is off already.
        let _ = self.emulator.kill();
        let _ = self.emulator.wait();
    }
}

/// The lines of the guest as they come, so that waiting for them can end.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            // A serial line ends its lines as a typewriter does.
            let text = String::from_utf8_lossy(&line);
            if sender
                .send(text.trim_end_matches(['\r', '\n']).to_owned())
                .is_err()
            {
                break;
            }
            line.clear();
        }
    });
    receiver
}

fn joined(prefix: &str, path: &Path) -> std::ffi::OsString {
    let mut joined = std::ffi::OsString::from(prefix);
    joined.push(path);
    joined
}

/// A line by which a kernel says that something is wrong with itself.
fn complaint(console: &str) -> Option<&str> {
    const COMPLAINTS: [&str; 5] = ["BUG:", "WARNING:", "Oops", "INFO: task", "rcu_sched"];
    console
        .lines()
        .find(|line| COMPLAINTS.iter().any(|complaint| line.contains(complaint)))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_is_hurt_is_noticed() {
        let healthy = "[    0.1] Linux version 6.1\n[    0.2] Kernel panic is off\n";
        assert_eq!(complaint(healthy), None);
        let hurt = "[    1.0] WARNING: CPU: 0 PID: 1 at kernel/bpf/verifier.c:1\n";
        assert_eq!(complaint(hurt), Some(hurt.trim_end()));
    }
}
