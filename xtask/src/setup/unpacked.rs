//! Debian packages that are unpacked into a folder of ours, not installed: for
//! what is used once in a while and must not change the machine.

use std::{ffi::OsString, fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{apt, is_root};
use crate::{
    command::{self, step},
    workspace,
};

/// What comes with a package.
#[derive(Clone, Copy)]
pub(super) enum Dependencies {
    Without,
    /// Those that are not installed.
    Missing,
}

/// Puts the files of `package` into `place`, which is there when they all are.
pub(super) fn put(package: &str, dependencies: Dependencies, place: &Path) -> Result<()> {
    if ["apt-get", "dpkg-deb"]
        .iter()
        .any(|program| workspace::find_program(program).is_none())
    {
        bail!("{package} is a package of Debian's, and this is neither Debian nor Ubuntu");
    }
    let work = place.with_extension("part");
    workspace::remove(&work)?;
    let root = work.join("root");
    // apt wants the one inside.
    for dir in [&root, &work.join("partial")] {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    step(
        &format!("unpacking {package} into {}", place.display()),
        || {
            download(package, dependencies, &work)?;
            unpack(&work, &root)
        },
    )?;
    workspace::remove(place)?;
    fs::rename(&root, place).with_context(|| format!("cannot make {}", place.display()))?;
    workspace::remove(&work)
}

fn download(package: &str, dependencies: Dependencies, dir: &Path) -> Result<()> {
    let what: &[&str] = match dependencies {
        Dependencies::Without => &["download", package],
        // What the installation would do to this system does not matter: it
        // ends where it would begin.
        Dependencies::Missing => &[
            "install",
            "--download-only",
            "--yes",
            "--no-install-recommends",
            package,
        ],
    };
    let mut cache = OsString::from("Dir::Cache::archives=");
    cache.push(dir);
    let fetch = || {
        command::run(
            Command::new("apt-get")
                .arg("-o")
                .arg(&cache)
                // The user that apt fetches as may not be let into `dir`.
                .args(["-o", "APT::Sandbox::User="])
                // The system's packages stay as they are: no lock, no root.
                .args(["-o", "Debug::NoLocking=true", "--quiet=2"])
                .args(what)
                .current_dir(dir),
        )
    };
    // Lists that are out of date name files that are gone.
    fetch().or_else(|error| {
        if !is_root() {
            return Err(error);
        }
        apt::update()?;
        fetch()
    })
}

/// Unpacks the packages that lie in `dir` into `root`.
fn unpack(dir: &Path, root: &Path) -> Result<()> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    for entry in entries {
        let package = entry
            .with_context(|| format!("cannot list {}", dir.display()))?
            .path();
        if package.extension().is_some_and(|end| end == "deb") {
            command::run(
                Command::new("dpkg-deb")
                    .arg("--extract")
                    .args([&*package, root]),
            )?;
        }
    }
    Ok(())
}
