//! The tarball: what the Debian package has, as it lies in a host's root, but for the
//! configuration, which an upgrade must not overwrite; its sample lies with the
//! documents.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::{VERSION, pack, put};
use crate::{build, command::step, package, workspace};

/// What is in it besides the program, by where it comes from in the source.
const FILES: [(&str, &str); 8] = [
    (
        "lb-userspace/package/ebb-bpffs.service",
        "usr/lib/systemd/system",
    ),
    ("lb-userspace/package/ebb.service", "usr/lib/systemd/system"),
    ("lb-userspace/package/ebb.toml", "usr/share/doc/ebb"),
    ("docs/operating.md", "usr/share/doc/ebb"),
    ("README.md", "usr/share/doc/ebb"),
    ("CHANGELOG.md", "usr/share/doc/ebb"),
    ("LICENSE-APACHE", "usr/share/doc/ebb"),
    ("LICENSE-MIT", "usr/share/doc/ebb"),
];

/// Where a shell looks for its completions of `ebb`.
const COMPLETIONS: [(&str, &str); 3] = [
    ("ebb.bash", "usr/share/bash-completion/completions/ebb"),
    ("_ebb", "usr/share/zsh/vendor-completions/_ebb"),
    ("ebb.fish", "usr/share/fish/vendor_completions.d/ebb.fish"),
];

pub(crate) fn run() -> Result<()> {
    println!("{}", build()?.display());
    Ok(())
}

/// The archive, built anew.
pub(crate) fn build() -> Result<PathBuf> {
    let ebb = build::standalone()?;
    let target = workspace::target_dir();
    let (root, beside) = (target.join("tarball/root"), target.join("tarball/beside"));
    let archive = target.join(format!("ebb-{VERSION}-linux-{}.tar.gz", env::consts::ARCH));
    step("packing the tarball", || {
        workspace::make_anew(&root)?;
        put(&ebb, &root.join("usr/bin/ebb"), 0o755)?;
        for (file, folder) in FILES {
            let file = workspace::root().join(file);
            let name = file.file_name().unwrap_or_default();
            put(&file, &root.join(folder).join(name), 0o644)?;
        }
        package::write_beside(&ebb, &beside)?;
        for (file, place) in COMPLETIONS {
            put(&beside.join(file), &root.join(place), 0o644)?;
        }
        let pages = beside.join("man");
        let entries =
            fs::read_dir(&pages).with_context(|| format!("cannot list {}", pages.display()))?;
        for page in entries {
            let page = page.with_context(|| format!("cannot list {}", pages.display()))?;
            let place = root.join("usr/share/man/man1").join(page.file_name());
            put(&page.path(), &place, 0o644)?;
        }
        // The folders of the host that it is unpacked on stay as they are.
        pack(&root, "usr", &archive, &["--gzip"])
    })?;
    Ok(archive)
}
