//! `cargo xtask tarball` and `cargo xtask image`: ebb for hosts that are not Debian's.
//! Both are made of one program that needs no library of its host.
//!
//! - [`tarball`]: it, its units and manuals, as they lie in a host's root.
//! - [`image`]: it alone, for those who run containers.

pub(crate) mod image;
pub(crate) mod tarball;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::command;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Copies a file to a place in a tree that is to be packed.
fn put(file: &Path, place: &Path, permissions: u32) -> Result<()> {
    let copy = || {
        if let Some(folder) = place.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::copy(file, place)?;
        fs::set_permissions(place, fs::Permissions::from_mode(permissions))
    };
    copy().with_context(|| format!("cannot copy {} to {}", file.display(), place.display()))
}

/// Packs `what` of `root` into an archive that says nothing of who made it when.
fn pack(root: &Path, what: &str, archive: &Path, more: &[&str]) -> Result<()> {
    command::run(
        Command::new("tar")
            .args(["--create", "--sort=name", "--mtime=@0", "--mode=go-w"])
            .args(["--owner=0", "--group=0", "--numeric-owner"])
            .args(more)
            .arg("--file")
            .arg(archive)
            .arg("--directory")
            .arg(root)
            .arg(what),
    )
}
