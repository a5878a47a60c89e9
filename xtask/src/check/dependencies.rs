//! The gate `dependencies`: what cargo-deny says of their licences, versions
//! and sources, by deny.toml.
//!
//! Advisories are not part of it: they are fetched from the internet, and a
//! build that was green yesterday may not be red today for that reason. Whoever
//! has the internet asks with `cargo deny check advisories`.

use std::process::Command;

use anyhow::Result;

use crate::{command, setup, workspace};

pub(super) fn check() -> Result<()> {
    let mut deny = Command::new(setup::cargo_deny()?);
    deny.current_dir(workspace::root())
        .args([
            "--workspace",
            "--all-features",
            "--locked",
            "--log-level=warn",
        ])
        .arg("check")
        // An exception that nothing needs any more goes.
        .args(["-D", "unmatched-skip", "-D", "unnecessary-skip"])
        .args(["licenses", "bans", "sources"]);
    command::run(&mut deny)
}
