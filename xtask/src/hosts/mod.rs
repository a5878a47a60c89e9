//! `cargo xtask test --only package`: the Debian package on whole hosts.
//!
//! What a package promises it promises under systemd, to an operator. Here hosts
//! are emulated that are made of Debian's own packages, and on each of them
//! stories are played: shell scripts in `tests/package/stories` that install ebb,
//! run it, restart the host, and take ebb away again. Every story begins with a
//! host as it was made.
//!
//! - [`disk`]: a host's disk, made once and kept.
//! - [`archive`]: what a story finds on its second disk.
//! - [`first`]: the package of 0.1.0, to upgrade from.

mod archive;
mod disk;
mod first;

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    command::{self, step},
    guest::machine::{self, End, Plan},
    setup::{self, Emulator},
    workspace,
};
use disk::{Disk, Release};

/// How long a host may be up at a time. An emulated one takes a minute to boot.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Enough for a client and a balancer at the same time.
const PROCESSORS: usize = 2;

/// Plays the stories that have `filter` in their names, as `debian-12-life`, or all.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    ensure!(
        std::env::consts::ARCH == "x86_64",
        "Debian's kernels for virtual machines are taken for x86-64 only, and this is {}",
        std::env::consts::ARCH
    );
    let stories = wanted(filter)?;
    let emulator = setup::emulator()?;
    let dir = workspace::target_dir().join("hosts");
    let archive = dir.join("stories.tar");
    archive::pack(&archive)?;
    let mut broken = Vec::new();
    for (release, story) in stories {
        let disk = disk::find_or_make(release)?;
        let name = name_of(release, &story);
        let played = step(&format!("playing {name}"), || {
            play(&emulator, &disk, &archive, &story, &dir.join(&name))
        });
        if let Err(error) = played {
            broken.push(format!("{name}: {error:#}"));
        }
    }
    if !broken.is_empty() {
        bail!("{}", broken.join("\n"));
    }
    Ok(())
}

/// What is to be played where.
fn wanted(filter: Option<&str>) -> Result<Vec<(&'static Release, String)>> {
    let stories = archive::stories()?;
    let all = disk::RELEASES.iter().flat_map(|release| {
        let stories = stories.iter();
        stories.map(move |story| (release, story.clone()))
    });
    let wanted: Vec<_> = all
        .filter(|(release, story)| filter.is_none_or(|text| name_of(release, story).contains(text)))
        .collect();
    ensure!(!wanted.is_empty(), "no story on any host is called so");
    Ok(wanted)
}

fn name_of(release: &Release, story: &str) -> String {
    format!("{}-{story}", release.host)
}

/// Plays a story on a host of its own, which is kept at `place`, and boots it again
/// as often as the story restarts it.
fn play(emulator: &Emulator, disk: &Disk, archive: &Path, story: &str, place: &Path) -> Result<()> {
    let own = place.with_extension("img");
    // Most of a disk is empty, and some file systems copy by not copying.
    command::run(
        Command::new("cp")
            .args(["--sparse=always", "--reflink=auto"])
            .args([&disk.image, &own]),
    )?;
    let arguments = format!("root=/dev/vda rw story={story}");
    let plan = Plan {
        kernel: &disk.kernel,
        initramfs: &disk.initramfs,
        arguments: &arguments,
        disks: &[&own, archive],
        processors: PROCESSORS,
        limit: LIMIT,
        console: &place.with_extension("log"),
    };
    while machine::run(emulator, &plan)? == End::Restarts {}
    // One whose story broke stays, to be looked into.
    fs::remove_file(&own).with_context(|| format!("cannot remove {}", own.display()))
}
