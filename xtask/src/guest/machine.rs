//! The emulated machine: a processor, memory, two serial lines, and nothing else.

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

use super::{init, place};
use crate::setup::Emulator;

/// How long the tests may take. An emulated processor verifies programs and
/// runs tests some twenty times slower than the host's.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// As many processors as tests can share.
const PROCESSORS: usize = 4;

/// A machine that is running; off when dropped.
struct Machine {
    emulator: Child,
    lines: Receiver<String>,
}

/// Boots `image` with `initramfs`, shows what the tests print, and returns
/// when they are over. The kernel's own words go to `console`.
pub(super) fn run(
    emulator: &Emulator,
    image: &Path,
    initramfs: &Path,
    console: &Path,
) -> Result<()> {
    let mut machine = Machine::start(emulator, image, initramfs, console)?;
    let verdict = machine.follow(Instant::now() + LIMIT);
    let said = fs::read_to_string(console).unwrap_or_default();
    match verdict? {
        Some(verdict) if verdict == init::PASSED => {}
        Some(verdict) => bail!("in the guest: {verdict}"),
        None => bail!(
            "the guest ended before the tests did; its kernel's last words, from {}:\n{}",
            console.display(),
            last_lines(&said)
        ),
    }
    // Tests that pass on a kernel that is hurt have not passed.
    if let Some(complaint) = complaint(&said) {
        bail!(
            "the tests passed, but the guest's kernel complained, see {}: {complaint}",
            console.display()
        );
    }
    Ok(())
}

impl Machine {
    fn start(emulator: &Emulator, image: &Path, initramfs: &Path, console: &Path) -> Result<Self> {
        // Of an earlier run nothing may be read.
        File::create(console).with_context(|| format!("cannot create {}", console.display()))?;
        let processors = thread::available_parallelism().map_or(1, |n| n.get().min(PROCESSORS));
        // `panic=-1`: a kernel that panics restarts at once, and
        // `-no-reboot`: whoever restarts ends the emulator.
        let kernel_arguments = format!(
            "console=ttyS0 loglevel=5 panic=-1 oops=panic rdinit={} -- {}",
            place::INIT,
            init::VERB
        );
        let mut command = emulator.command()?;
        command
            .args(["-nodefaults", "-no-user-config", "-no-reboot"])
            // Not KVM: a host that is a guest itself may offer one that hangs.
            .args(["-accel", "tcg", "-cpu", "max", "-m", "2G"])
            .args(["-smp", &processors.to_string(), "-display", "none"])
            .arg("-serial")
            .arg(joined("file:", console))
            .args(["-serial", "stdio", "-kernel"])
            .arg(image)
            .arg("-initrd")
            .arg(initramfs)
            .args(["-append", &kernel_arguments])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
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
    fn follow(&mut self, deadline: Instant) -> Result<Option<String>> {
        let mut verdict = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => match line.strip_prefix(init::MARKER) {
                    Some(said) => verdict = Some(said.to_owned()),
                    None => println!("{line}"),
                },
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the tests were not over after {} min", LIMIT.as_secs() / 60)
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
