//! A network namespace, and running things inside it.
//!
//! Only the network changes: mounts stay, and with them the bpffs that
//! `ip netns exec` would hide.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::Write as _,
    os::{fd::AsFd as _, unix::process::CommandExt as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
};

use anyhow::{Context as _, Result, bail};
use rustix::{
    io,
    process::{Signal, set_parent_process_death_signal},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// A named namespace; removed when dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    handle: Arc<File>,
}

impl Namespace {
    pub(super) fn create(name: String) -> Result<Self> {
        output(Command::new("ip").args(["netns", "add", &name]))?;
        let file = Path::new("/run/netns").join(&name);
        let handle =
            File::open(&file).with_context(|| format!("cannot open {}", file.display()))?;
        Ok(Self {
            name,
            handle: Arc::new(handle),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Does `work` on a thread in here. Sockets that it returns stay in here.
    pub(super) fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| -> Result<T> {
                move_into(&self.handle)
                    .with_context(|| format!("cannot enter the namespace {}", self.name))?;
                Ok(work())
            });
            match inside.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A program to be run in here. It is killed when the thread that starts it
    /// ends, and hears nothing of a Ctrl-C that is meant for us.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let handle = Arc::clone(&self.handle);
        let mut command = Command::new(program);
        command.process_group(0);
        // SAFETY: between fork and exec only async-signal-safe calls are
        // allowed; the closure makes two system calls and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                move_into(&handle)?;
                set_parent_process_death_signal(Some(Signal::KILL))?;
                Ok(())
            });
        }
        command
    }

    /// Runs lines of `ip`, without the word itself.
    pub(super) fn ip(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-n", &self.name, "-batch", "-"]);
        let mut child = ip
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start ip")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(lines.as_bytes())?;
        }
        let done = child.wait_with_output()?;
        if !done.status.success() {
            let complaint = String::from_utf8_lossy(&done.stderr);
            bail!("ip -n {} -batch:\n{lines}\n{complaint}", self.name);
        }
        Ok(())
    }

    /// Sets a key of /proc/sys, which for the network is the namespace's own.
    pub(super) fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let file = Path::new("/proc/sys").join(key);
        self.enter(|| fs::write(&file, value))?
            .with_context(|| format!("cannot set {key} to {value} in {}", self.name))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = output(Command::new("ip").args(["netns", "delete", &self.name])) {
            eprintln!("lab: {error:#}");
        }
    }
}

fn move_into(namespace: &File) -> io::Result<()> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
}

/// Runs it to its end and returns what it printed.
pub(super) fn output(command: &mut Command) -> Result<String> {
    let done = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {command:?}"))?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        let complaint = String::from_utf8_lossy(&done.stderr);
        bail!("{}: {command:?}\n{printed}{complaint}", done.status);
    }
    Ok(printed)
}
