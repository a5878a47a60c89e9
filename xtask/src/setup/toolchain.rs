//! A Rust compiler with the source of `core`, which is built anew for BPF.

use std::{
    env,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{apt, linker};
use crate::{
    command::{self, step},
    workspace,
};

/// Debian's Rust for its browsers is kept new in stable releases too, and is
/// complete.
const DEBIAN_PACKAGES: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Clippy of the same version as the three.
const DEBIAN_CLIPPY: &str = "rust-web-clippy";

/// Where the system's Rust is.
const SYSTEM: &str = "/usr";

/// The oldest rustc that builds the workspace; `rust-version` in Cargo.toml.
pub(crate) const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// A Rust installation that can build for BPF.
pub(crate) struct Compiler {
    sysroot: PathBuf,
    /// For people.
    pub(crate) description: String,
    pub(crate) llvm: linker::Llvm,
}

impl Compiler {
    pub(crate) fn bin(&self, name: &str) -> PathBuf {
        self.sysroot.join("bin").join(name)
    }

    /// Its clippy, installed on first use.
    pub(super) fn clippy(&self) -> Result<PathBuf> {
        let programs = ["cargo-clippy", "clippy-driver"].map(|name| self.bin(name));
        let is_there = || programs.iter().all(|program| program.is_file());
        if !is_there() {
            let toolchain = self.sysroot.file_name().unwrap_or_default();
            if self.sysroot == Path::new(SYSTEM) {
                apt::install("clippy of the system's Rust", &[DEBIAN_CLIPPY])?;
            } else if let Some(rustup) = workspace::find_program("rustup") {
                let mut add = Command::new(rustup);
                add.args(["component", "add", "clippy", "--toolchain"]);
                command::run(add.arg(toolchain))?;
            }
        }
        ensure!(
            is_there(),
            "the Rust at {} has no clippy; install the one that belongs to it",
            self.sysroot.display()
        );
        let [cargo_clippy, _] = programs;
        Ok(cargo_clippy)
    }

    /// The compiler at `sysroot`, or why it won't do.
    fn at(sysroot: &Path) -> Result<Self> {
        let source = sysroot.join("lib/rustlib/src/rust/library/core/Cargo.toml");
        if !source.is_file() {
            bail!("it lacks rust-src");
        }
        if !sysroot.join("bin/cargo").is_file() {
            bail!("it lacks cargo");
        }
        let about = command::output(Command::new(sysroot.join("bin/rustc")).arg("-vV"))?;
        let release = field(&about, "release: ").context("rustc -vV names no release")?;
        match major_minor(release) {
            Some(version) if version >= OLDEST_RUSTC => {}
            _ => bail!(
                "rustc {release} is too old, {}.{} is the oldest",
                OLDEST_RUSTC.0,
                OLDEST_RUSTC.1
            ),
        }
        let llvm = field(&about, "LLVM version: ")
            .and_then(|version| version.split('.').next()?.parse().ok())
            .context("rustc -vV names no LLVM version")?;
        let llvm = linker::Llvm::of(sysroot, llvm)?;
        Ok(Self {
            sysroot: sysroot.to_owned(),
            description: format!("rustc {release}"),
            llvm,
        })
    }
}

/// A nightly of rustup that has rust-src, else the system's Rust, else
/// whatever of the two can be installed here.
pub(crate) fn find_or_install() -> Result<Compiler> {
    let first_look = match find() {
        Ok(compiler) => return Ok(compiler),
        Err(refusals) => refusals,
    };
    if apt::offers(&DEBIAN_PACKAGES, OLDEST_RUSTC) {
        apt::install("a Rust compiler with its source", &DEBIAN_PACKAGES)?;
    } else if let Some(rustup) = workspace::find_program("rustup") {
        step("installing Rust nightly with rust-src", || {
            let mut install = Command::new(rustup);
            install.args(["toolchain", "install", "nightly", "--profile", "minimal"]);
            command::run(install.args(["--component", "rust-src"]))
        })?;
    }
    find().map_err(|refusals| {
        let refusals = if refusals.is_empty() {
            first_look
        } else {
            refusals
        };
        anyhow::anyhow!(
            "no Rust compiler here can build for BPF{refusals}\n\
             Install one of:\n  \
               rustup toolchain install nightly --profile minimal --component rust-src\n  \
               apt-get install --no-install-recommends {}   (Debian)",
            DEBIAN_PACKAGES.join(" ")
        )
    })
}

/// The first compiler that will do, or a line for each that won't.
fn find() -> Result<Compiler, String> {
    let mut refusals = String::new();
    for sysroot in nightlies().into_iter().chain([PathBuf::from(SYSTEM)]) {
        if !sysroot.join("bin/rustc").is_file() {
            continue;
        }
        match Compiler::at(&sysroot) {
            Ok(compiler) => return Ok(compiler),
            Err(reason) => refusals.push_str(&format!("\n  {}: {reason:#}", sysroot.display())),
        }
    }
    Err(refusals)
}

/// The nightly toolchains of rustup: `nightly-x86_64-…`, which updates, before
/// `nightly-2026-01-01-x86_64-…`.
fn nightlies() -> Vec<PathBuf> {
    rustup_toolchains(|name| name.starts_with("nightly-"))
}

/// The toolchains of rustup whose name is wanted, the last by name first; looked
/// up where it keeps them: asking rustup itself takes longer than everything else
/// that `setup` looks at.
pub(crate) fn rustup_toolchains(wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(env::home_dir()?.join(".rustup")));
    let Some(toolchains) = home.and_then(|home| fs::read_dir(home.join("toolchains")).ok()) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = toolchains
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .and_then(OsStr::to_str)
                .is_some_and(&wanted)
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found
}

fn field<'a>(about: &'a str, name: &str) -> Option<&'a str> {
    about.lines().find_map(|line| line.strip_prefix(name))
}

/// `1.96.0-nightly` and `1.96.0+dfsg1-1` alike.
pub(crate) fn major_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_however_they_end() {
        assert_eq!(major_minor("1.96.0+dfsg1-1~deb12u2"), Some((1, 96)));
        assert_eq!(major_minor("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(major_minor("(none)"), None);
    }
}
