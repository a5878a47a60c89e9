//! Debian packages: asking for them, installing them, leaving nothing running.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context as _, Result, bail};

use super::{is_root, toolchain::major_minor};
use crate::{
    command::{self, step},
    workspace,
};

/// Whether packages can be installed here by us.
fn usable() -> bool {
    is_root() && workspace::find_program("apt-get").is_some()
}

/// Whether the system offers all of `packages`, in this version or newer.
/// Brings the lists up to date first where they know nothing of them.
pub(crate) fn offers(packages: &[&str], oldest: (u32, u32)) -> bool {
    let offered = || {
        packages.iter().all(|package| {
            candidate(package)
                .and_then(|version| major_minor(&version))
                .is_some_and(|version| version >= oldest)
        })
    };
    usable() && (offered() || (update().is_ok() && offered()))
}

/// Installs `packages`, or says that somebody must.
pub(crate) fn install(what: &str, packages: &[&str]) -> Result<()> {
    let mut packages = packages.to_vec();
    packages.dedup();
    let list = packages.join(" ");
    if !usable() {
        bail!(
            "missing: {what}. As root, on Debian or Ubuntu:\n  \
               apt-get install --no-install-recommends {list}\n\
             elsewhere, the packages that have the same programs"
        );
    }
    if packages.iter().any(|package| candidate(package).is_none()) {
        update()?;
    }
    step(&format!("installing {what}: {list}"), || {
        let _quiet = NoServices::new()?;
        // Lists that are out of date name files that are gone.
        apt_install(&packages).or_else(|_| {
            update()?;
            apt_install(&packages)
        })
    })?;
    // The lab starts what it needs; these packages would also start theirs at
    // every boot.
    for (package, service) in [("nginx-light", "nginx"), ("prometheus", "prometheus")] {
        if packages.contains(&package) && workspace::find_program("systemctl").is_some() {
            command::run(Command::new("systemctl").args(["--quiet", "disable", service]))?;
        }
    }
    Ok(())
}

/// The oldest package whose name matches `pattern`, by the numbers in it.
pub(super) fn oldest(pattern: &str) -> Result<String> {
    if workspace::find_program("apt-cache").is_none() {
        bail!("only Debian and Ubuntu have packages that match {pattern}");
    }
    let search = || {
        let mut search = Command::new("apt-cache");
        let found = command::output(search.args(["search", "--names-only", pattern]))?;
        Ok::<_, anyhow::Error>(oldest_in(&found))
    };
    if let Some(package) = search()? {
        return Ok(package);
    }
    update()?;
    search()?.with_context(|| format!("this system offers no package that matches {pattern}"))
}

/// `apt-cache search` prints a name and a title per line.
fn oldest_in(found: &str) -> Option<String> {
    found
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .min_by_key(|name| numbers(name))
        .map(str::to_owned)
}

fn numbers(name: &str) -> Vec<u64> {
    name.split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

fn apt_install(packages: &[&str]) -> Result<()> {
    command::run(
        Command::new("apt-get")
            .env("DEBIAN_FRONTEND", "noninteractive")
            // What the machine has stays: rather fail than remove anything.
            .args([
                "install",
                "--yes",
                "--quiet=2",
                "--no-install-recommends",
                "--no-remove",
            ])
            .args(packages),
    )
}

/// Brings the lists up to date.
pub(super) fn update() -> Result<()> {
    step("updating the package lists", || {
        command::run(Command::new("apt-get").args(["update", "--quiet=2"]))
    })
}

/// The version that would be installed.
fn candidate(package: &str) -> Option<String> {
    let policy = command::output(
        Command::new("apt-cache")
            .env("LC_ALL", "C")
            .args(["policy", package]),
    )
    .ok()?;
    let version = policy
        .lines()
        .find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.to_owned())
}

/// While it lives, packages that are installed start no services: the policy
/// that Debian asks before it does says no.
struct NoServices {
    ours: Option<PathBuf>,
}

impl NoServices {
    fn new() -> Result<Self> {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        let made = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(policy);
        match made {
            Ok(mut file) => {
                // From here on it is ours to remove, written or not.
                let this = Self {
                    ours: Some(policy.to_owned()),
                };
                file.write_all(policy_of(process::id()).as_bytes())
                    .with_context(|| format!("cannot write {}", policy.display()))?;
                Ok(this)
            }
            // The machine has a policy of its own: that is its owner's business.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Self { ours: None }),
            Err(error) => Err(error).with_context(|| format!("cannot create {}", policy.display())),
        }
    }
}

/// A policy that forbids (101) while the process `pid` lives and no longer,
/// should the process be killed before it can remove it.
fn policy_of(pid: u32) -> String {
    format!(
        "#!/bin/sh\n\
         # Made by `cargo xtask setup` for the time of an installation; remove it.\n\
         kill -0 {pid} 2>/dev/null && exit 101\n\
         exit 0\n"
    )
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if let Some(policy) = &self.ours
            && let Err(error) = fs::remove_file(policy)
        {
            eprintln!("warning: remove {} yourself: {error}", policy.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_packages_is_told_by_numbers_not_letters() {
        let found = "linux-image-6.1.0-9-cloud-amd64 - Linux 6.1\n\
                     linux-image-6.1.0-56-cloud-amd64 - Linux 6.1\n\
                     linux-image-6.1.0-47-cloud-amd64 - Linux 6.1\n";
        assert_eq!(
            oldest_in(found).as_deref(),
            Some("linux-image-6.1.0-9-cloud-amd64")
        );
        assert_eq!(oldest_in(""), None);
    }
}
