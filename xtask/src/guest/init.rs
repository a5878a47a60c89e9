//! The first process of the guest: xtask itself, in a file system that has
//! only what [`super`] packed.
//!
//! It mounts what the tests want, runs them on the second serial line, says
//! there how they ended, and restarts the machine, which ends the emulator.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    io::Write as _,
    os::unix::ffi::OsStrExt as _,
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use rustix::{
    mount::{MountFlags, mount},
    system::{RebootCommand, reboot},
};

use super::{
    machine::{MARKER, PASSED},
    place,
};

/// The verb that makes xtask this process.
pub(crate) const VERB: &str = "guest-init";

/// Where the tests print. The first line is the kernel's.
const LINE: &str = "/dev/ttyS1";

pub(crate) fn run() -> Result<()> {
    // Not a thing to try on a host.
    ensure!(
        std::process::id() == 1,
        "this is the first process of the guest that `cargo xtask test --kernel` boots"
    );
    // What fails before there is a line to say it on is said on the kernel's.
    set_up().inspect_err(|error| eprintln!("{MARKER}{error:#}"))?;
    let line = File::options()
        .write(true)
        .open(LINE)
        .with_context(|| format!("cannot open {LINE}"))?;
    let verdict = match run_tests(&line) {
        Ok(()) => PASSED.to_owned(),
        Err(error) => format!("{error:#}"),
    };
    writeln!(&line, "{MARKER}{verdict}").with_context(|| format!("cannot write to {LINE}"))?;
    rustix::termios::tcdrain(&line)?;
    reboot(RebootCommand::Restart).context("cannot restart")
}

fn set_up() -> Result<()> {
    for (kind, place) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("bpf", "/sys/fs/bpf"),
        ("tmpfs", "/tmp"),
    ] {
        mount(kind, place, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} at {place}"))?;
    }
    Ok(())
}

fn run_tests(line: &File) -> Result<()> {
    let version = fs::read_to_string("/proc/version").context("cannot read /proc/version")?;
    (&*line).write_all(version.as_bytes())?;
    let read = |file| fs::read(file).with_context(|| format!("cannot read {file}"));
    let (arguments, environment) = (read(place::ARGUMENTS)?, read(place::ENVIRONMENT)?);
    let status = Command::new(place::TESTS)
        .args(decode(&arguments))
        .env_clear()
        .envs(decode(&environment).filter_map(variable))
        .stdin(File::open("/dev/null")?)
        .stdout(line.try_clone()?)
        .stderr(line.try_clone()?)
        .status()
        .with_context(|| format!("cannot start {}", place::TESTS))?;
    ensure!(status.success(), "the tests ended with {status}");
    Ok(())
}

/// Arguments as a file: each ends with the byte that no argument can have.
pub(super) fn encode(arguments: &[OsString]) -> Vec<u8> {
    arguments
        .iter()
        .flat_map(|argument| argument.as_bytes().iter().chain(&[0]))
        .copied()
        .collect()
}

fn decode(arguments: &[u8]) -> impl Iterator<Item = &OsStr> {
    arguments
        .split_inclusive(|byte| *byte == 0)
        .map(|argument| OsStr::from_bytes(argument.strip_suffix(&[0]).unwrap_or(argument)))
}

/// The name and value of `NAME=VALUE`.
fn variable(text: &OsStr) -> Option<(&OsStr, &OsStr)> {
    let bytes = text.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = (&bytes[..equals], &bytes[equals + 1..]);
    Some((OsStr::from_bytes(name), OsStr::from_bytes(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_arrive_as_they_were_sent() {
        let arguments = ["--skip", "", "two words"].map(OsString::from);
        assert!(decode(&encode(&arguments)).eq(&arguments));
        assert_eq!(decode(&encode(&[])).count(), 0);
    }

    #[test]
    fn a_variable_ends_its_name_at_the_first_equals_sign() {
        let of = |text: &'static str| variable(OsStr::new(text));
        assert_eq!(of("A=b=c"), Some((OsStr::new("A"), OsStr::new("b=c"))));
        assert_eq!(of("A"), None);
    }
}
