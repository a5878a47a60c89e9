//! `cargo xtask build`: the kernel program, then `ebb` with it inside.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

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

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build for another processor, as aarch64-unknown-linux-gnu.
    #[arg(long, value_name = "TRIPLE")]
    target: Option<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let ebb = match &args.target {
        Some(triple) => cross(triple)?,
        None => build(&[])?.ebb,
    };
    println!("{}", ebb.display());
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

/// Builds an `ebb` that needs no library of the host that it runs on.
pub(crate) fn standalone() -> Result<PathBuf> {
    let objects = kernel::build(&setup::toolchain()?)?;
    let triple = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    step("building ebb without libraries", || {
        let mut cargo = cargo("build", &objects)?;
        cargo
            .args(["--release", "--package", "lb-userspace", "--bin", "ebb"])
            // With a target, what runs while it is built is built as ever.
            .args(["--target", &triple])
            .args(["--config", "profile.release.strip = true"])
            .env("RUSTFLAGS", "-C target-feature=+crt-static");
        command::run(&mut cargo)
    })?;
    Ok(released_for(&triple, "ebb"))
}

/// Builds `ebb` for another processor. The kernel program is the same for all
/// little-endian ones.
fn cross(triple: &str) -> Result<PathBuf> {
    let toolchain = setup::toolchain()?;
    let compiler = setup::cross(triple)?;
    let objects = kernel::build(&toolchain)?;
    step(&format!("building ebb for {triple}"), || {
        let mut cargo = cargo("build", &objects)?;
        if !has_std(triple)? {
            // The compiler that has the source of the standard library builds it, too.
            cargo = Command::new(toolchain.cargo());
            cargo
                .current_dir(workspace::root())
                .env("RUSTC", toolchain.rustc())
                .env("RUSTC_BOOTSTRAP", "1")
                .env("EBB_BPF_DIR", objects.dir())
                .args(["build", "-Z", "build-std=std,panic_abort", "--target-dir"])
                .arg(workspace::target_dir());
        }
        let variable = triple.replace('-', "_");
        cargo
            .env(
                format!("CARGO_TARGET_{}_LINKER", variable.to_uppercase()),
                compiler,
            )
            .env(format!("CC_{variable}"), compiler)
            .args(["--release", "--package", "lb-userspace", "--bin", "ebb"])
            .args(["--target", triple]);
        command::run(&mut cargo)
    })?;
    Ok(released_for(triple, "ebb"))
}

/// Whether the compiler at work has a standard library for the target.
fn has_std(triple: &str) -> Result<bool> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.current_dir(workspace::root());
    let dir = command::output(rustc.args(["--print", "target-libdir", "--target", triple]))?;
    Ok(Path::new(dir.trim()).is_dir())
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

/// Where cargo leaves a binary that it built for the release of a target.
fn released_for(triple: &str, name: &str) -> PathBuf {
    workspace::target_dir()
        .join(triple)
        .join("release")
        .join(name)
}

/// Where cargo leaves a binary that it built for release.
pub(crate) fn released(name: &str) -> PathBuf {
    workspace::target_dir().join("release").join(name)
}
