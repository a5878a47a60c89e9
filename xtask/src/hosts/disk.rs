//! A host's disk: a release of Debian's as its own packages make it, with what a
//! site needs besides ebb. Made once and kept with the other tools.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::archive;
use crate::{
    command::{self, step},
    setup, workspace,
};

/// A release that hosts run.
pub(super) struct Release {
    /// What its hosts are called.
    pub(super) host: &'static str,
    codename: &'static str,
}

pub(super) const RELEASES: &[Release] = &[
    Release {
        host: "debian-12",
        codename: "bookworm",
    },
    Release {
        host: "debian-13",
        codename: "trixie",
    },
];

/// What is installed besides the least that a host can do with.
const PACKAGES: [&str; 10] = [
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "dbus",
    "iproute2",
    "ethtool",
    "nginx-light",
    "curl",
    "bpftool",
    "podman",
    "wireguard-tools",
];

/// Of a disk. What is empty takes no room.
const SIZE: &str = "3G";

/// What would use the emulated processor for nothing that a story is about.
const SILENCED: &str = "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
                        e2scrub_all.timer e2scrub_reap.service fstrim.timer \
                        getty@tty1.service serial-getty@ttyS0.service nginx.service";

/// A disk, and what boots it.
pub(super) struct Disk {
    pub(super) image: PathBuf,
    pub(super) kernel: PathBuf,
    pub(super) initramfs: PathBuf,
}

/// The disk of a host that runs `release`, made on first use and whenever it is
/// made of something else.
pub(super) fn find_or_make(release: &Release) -> Result<Disk> {
    let dir = workspace::tools_dir()?.join(format!("host-{}", release.codename));
    let disk = Disk {
        image: dir.join("disk.img"),
        kernel: dir.join("vmlinuz"),
        initramfs: dir.join("initrd.img"),
    };
    let unit = archive::sources().join("story.service");
    let written = fs::read_to_string(&unit);
    let written = written.with_context(|| format!("cannot read {}", unit.display()))?;
    // Written last: a disk without it was not finished.
    let made_of = dir.join("made-of");
    let recipe = format!("{}\n{SILENCED}\n{written}", PACKAGES.join(" "));
    if !fs::read_to_string(&made_of).is_ok_and(|made_of| made_of == recipe) {
        let Release { host, codename } = release;
        step(
            &format!("making {host} of packages of {codename} (once)"),
            || make(release, &unit, &dir, &disk),
        )?;
        fs::write(&made_of, recipe)
            .with_context(|| format!("cannot write {}", made_of.display()))?;
    }
    Ok(disk)
}

fn make(release: &Release, unit: &Path, dir: &Path, disk: &Disk) -> Result<()> {
    setup::host_builder()?;
    workspace::make_anew(dir)?;
    let root = dir.join("root");
    command::run(&mut bootstrap(release, unit, &root))?;
    for (link, place) in [("vmlinuz", &disk.kernel), ("initrd.img", &disk.initramfs)] {
        let file = root.join(link);
        fs::copy(&file, place).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    let mkfs = workspace::find_program("mkfs.ext4").context("mkfs.ext4 is gone")?;
    let mut mkfs = Command::new(mkfs);
    mkfs.arg("-d").args([&root, &disk.image]).arg(SIZE);
    command::output(&mut mkfs)?;
    workspace::remove(&root)
}

/// Fills `root` with a system that plays a story when it boots.
fn bootstrap(release: &Release, unit: &Path, root: &Path) -> Command {
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap
        .args(["--quiet", "--variant=minbase"])
        .arg(format!("--include={}", PACKAGES.join(",")))
        .arg(format!(
            "--customize-hook=copy-in {} /etc/systemd/system",
            shlex::try_quote(&unit.display().to_string()).unwrap_or_default()
        ))
        .arg("--customize-hook=echo force-unsafe-io >\"$1\"/etc/dpkg/dpkg.cfg.d/emulated")
        .arg(format!(
            "--customize-hook=chroot \"$1\" sh -c '\
             systemctl --quiet enable story && systemctl --quiet mask {SILENCED}'"
        ))
        .arg(release.codename)
        .arg(root);
    bootstrap
}
