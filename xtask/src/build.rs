//! `cargo xtask build`: the kernel program, then `ebb` with it inside.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{
    command::{self, step},
    kernel::{self, Objects},
    setup, workspace,
};

/// What a build made.
pub(crate) struct Built {
    pub(crate) objects: Objects,
    /// The agent and command line.
    pub(crate) ebb: PathBuf,
}

pub(crate) fn run() -> Result<()> {
    let built = build(&[])?;
    println!("{}", built.ebb.display());
    Ok(())
}

/// Builds `ebb` for release, and with it what `also` names in cargo's own
/// arguments: one run of cargo shares what both need.
pub(crate) fn build(also: &[&str]) -> Result<Built> {
    let objects = kernel::build(&setup::toolchain()?)?;
    step("building ebb", || {
        let mut cargo = cargo("build", &objects)?;
        cargo.args(["--release", "--package", "lb-userspace", "--bin", "ebb"]);
        command::run(cargo.args(also))
    })?;
    Ok(Built {
        objects,
        ebb: released("ebb"),
    })
}

/// Cargo, for code that embeds the kernel program or, in tests, loads any of
/// the objects.
pub(crate) fn cargo(verb: &str, objects: &Objects) -> Result<Command> {
    let mut cargo = command::cargo();
    cargo
        .env("EBB_BPF_DIR", objects.dir())
        .args([verb, "--target-dir"])
        .arg(workspace::target_dir());
    Ok(cargo)
}

/// Where cargo leaves a binary that it built for release.
pub(crate) fn released(name: &str) -> PathBuf {
    workspace::target_dir().join("release").join(name)
}
