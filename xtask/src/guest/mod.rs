//! `cargo xtask test --kernel VERSION`: the packet tests under another kernel.
//!
//! The oldest kernel that ebb supports is not the one it is built on. Here a
//! machine is emulated that runs it, with the packet tests and nothing else on
//! board: they load every program through that kernel's verifier and send
//! their packets through it.
//!
//! - [`image`]: the kernel, as Debian ships it.
//! - [`initramfs`]: the file system: the tests, the libraries that they need,
//!   and xtask itself as the first process.
//! - [`machine`]: the emulated machine, which the stories of whole hosts
//!   ([`crate::hosts`]) run in as well.
//! - [`init`]: the first process in it.

mod image;
pub(crate) mod init;
mod initramfs;
pub(crate) mod machine;

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
    str::FromStr,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    build,
    command::{self, step},
    kernel::{self, Objects},
    setup,
};
use initramfs::Initramfs;

/// How long the tests may take. An emulated processor verifies programs and
/// runs tests some twenty times slower than the host's.
const LIMIT: Duration = Duration::from_secs(40 * 60);

/// As many processors as tests can share.
const PROCESSORS: usize = 4;

/// Where things are in the guest.
mod place {
    pub(super) const INIT: &str = "/init";
    pub(super) const TESTS: &str = "/tests";
    pub(super) const ARGUMENTS: &str = "/arguments";
    pub(super) const ENVIRONMENT: &str = "/environment";
    pub(super) const OBJECTS: &str = "/bpf";
}

/// A kernel series: 6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Series {
    major: u32,
    minor: u32,
}

/// Debian 12's: the oldest that ebb is promised to run on.
pub(crate) const OLDEST: Series = Series { major: 6, minor: 1 };

impl FromStr for Series {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (major, minor) = text
            .split_once('.')
            .context("a kernel series is two numbers, as in 6.1")?;
        Ok(Self {
            major: major.parse()?,
            minor: minor.parse()?,
        })
    }
}

impl std::fmt::Display for Series {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Runs the packet tests, given `arguments`, under a kernel of `series`.
pub(crate) fn run(series: Series, arguments: &[OsString]) -> Result<()> {
    ensure!(
        env::consts::ARCH == "x86_64",
        "Debian's kernels for virtual machines are taken for x86-64 only, and this is {}",
        env::consts::ARCH
    );
    let emulator = setup::emulator()?;
    let dir = image::dir(series);
    let image = image::find_or_download(series)?;
    let objects = kernel::build(&setup::toolchain()?)?;
    let tests = step("building the packet tests", || build_tests(&objects))?;
    let initramfs = dir.join("initramfs.cpio");
    step("packing the file system of the guest", || {
        fs::write(&initramfs, pack(&tests, &objects, arguments)?)
            .with_context(|| format!("cannot write {}", initramfs.display()))
    })?;
    let plan = machine::Plan {
        kernel: &image,
        initramfs: &initramfs,
        arguments: &format!("rdinit={} -- {}", place::INIT, init::VERB),
        disks: &[],
        processors: PROCESSORS,
        limit: LIMIT,
        console: &dir.join("console.log"),
    };
    let end = step(
        &format!("packet tests under Linux {series}, emulated"),
        || machine::run(&emulator, &plan),
    )?;
    ensure!(end == machine::End::Passed, "the guest restarted");
    Ok(())
}

/// The test program of the packet tests.
fn build_tests(objects: &Objects) -> Result<PathBuf> {
    let mut cargo = build::cargo("test", objects)?;
    cargo.args(["--package", "tests", "--test", "packet", "--no-run"]);
    let messages = command::output_of_long(cargo.arg("--message-format=json-render-diagnostics"))?;
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|message| message["target"]["name"] == "packet")
        .find_map(|message| Some(message["executable"].as_str()?.into()))
        .context("cargo names no test program for the packet tests")
}

/// The archive that the kernel unpacks into its root.
fn pack(tests: &Path, objects: &Objects, arguments: &[OsString]) -> Result<Vec<u8>> {
    let init = env::current_exe().context("cannot find xtask's own program")?;
    let mut archive = Initramfs::new();
    for place in ["/dev", "/proc", "/sys", "/tmp"] {
        archive.dir(place);
    }
    for (file, place) in [(&*init, place::INIT), (tests, place::TESTS)] {
        archive.copy(file, place)?;
        for library in libraries(file)? {
            archive.copy(Path::new(&library), &library)?;
        }
    }
    for object in objects.all()? {
        let name = object.file_name().unwrap_or_default().to_string_lossy();
        archive.copy(&object, &format!("{}/{name}", place::OBJECTS))?;
    }
    archive.file(place::ARGUMENTS, &init::encode(arguments));
    archive.file(place::ENVIRONMENT, &init::encode(&environment()));
    Ok(archive.finish())
}

/// How many packets the fuzz test sends where nobody says: an emulated
/// processor takes a minute for as many as the host does in two seconds.
const FUZZ_PACKETS: &str = "30000";

/// What the tests find in their environment, as `NAME=VALUE`: the user's wishes
/// about the fuzz, and what suits the guest.
fn environment() -> Vec<OsString> {
    let wish = |name: &str| Some((name.to_owned(), env::var_os(name)?));
    let packets = wish("EBB_FUZZ_PACKETS")
        .unwrap_or_else(|| ("EBB_FUZZ_PACKETS".to_owned(), FUZZ_PACKETS.into()));
    [Some(packets), wish("EBB_FUZZ_SEED")]
        .into_iter()
        .flatten()
        .chain([
            ("EBB_BPF_DIR".to_owned(), place::OBJECTS.into()),
            ("RUST_LIB_BACKTRACE".to_owned(), "0".into()),
        ])
        .map(|(name, value)| {
            let mut variable = OsString::from(name + "=");
            variable.push(value);
            variable
        })
        .collect()
}

/// The shared libraries of a program, its loader included, by absolute path.
fn libraries(program: &Path) -> Result<Vec<String>> {
    let list = command::output(Command::new("ldd").arg(program))?;
    let libraries = libraries_in(&list);
    if libraries.is_empty() && !list.contains("statically linked") {
        bail!("ldd names no library of {}:\n{list}", program.display());
    }
    Ok(libraries)
}

/// `ldd` prints `libc.so.6 => /lib/…/libc.so.6 (0x…)`, the loader's path alone,
/// and libraries that are no files.
fn libraries_in(list: &str) -> Vec<String> {
    list.lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_is_two_numbers() {
        let series: Series = "6.1".parse().expect("a series");
        assert_eq!(series, Series { major: 6, minor: 1 });
        assert_eq!(series.to_string(), "6.1");
        for other in ["6", "6.1.0", "6.x", "", "../6.1"] {
            assert!(other.parse::<Series>().is_err(), "{other}");
        }
    }

    #[test]
    fn of_what_ldd_prints_the_files_are_taken() {
        let list = "\tlinux-vdso.so.1 (0x00007ffd)\n\
                    \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f)\n";
        assert_eq!(
            libraries_in(list),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }
}
