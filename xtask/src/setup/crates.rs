//! Tools that are crates: built from source once, into a folder of ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{self, step},
    workspace,
};

/// The program of the crate `name`, called as the crate is, built on first use.
pub(crate) fn find_or_build(name: &str, version: &str) -> Result<PathBuf> {
    let home = workspace::tools_dir()?.join(format!("{name}-{version}"));
    let program = home.join("bin").join(name);
    // Cargo puts the binary in place last and whole.
    if !program.is_file() {
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        step(&format!("building {name} {version} (once)"), || {
            command::run(&mut install(name, version, &home))
        })?;
    }
    Ok(program)
}

/// Cargo, told to install `name` into `home`; more arguments may follow.
pub(super) fn install(name: &str, version: &str, home: &Path) -> Command {
    let mut cargo = command::cargo();
    cargo
        // Not the workspace's: its configuration is not for this.
        .current_dir(home)
        // It runs now and then, and briefly: not worth the time that optimizing
        // it takes.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .args(["install", name, "--version", version])
        .args(["--locked", "--force", "--root"])
        .arg(home);
    cargo
}
