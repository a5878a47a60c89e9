//! `cargo xtask package`: a Debian package of what the build made, with the man
//! pages and completions that the binary itself writes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    build,
    command::{self, step},
    workspace,
};

const CARGO_DEB: &str = "3.8.0";

/// What each shell's completion script is called.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "ebb.bash"), ("zsh", "_ebb"), ("fish", "ebb.fish")];

pub(crate) fn run() -> Result<()> {
    let cargo_deb = find_or_build()?;
    let built = build::build(&[])?;
    // Where the package's list of files looks, whatever the target folder is.
    let dir = workspace::root().join("target/package");
    write_beside(&built.ebb, &dir)?;
    let package = step("packing", || {
        let mut pack = Command::new(&cargo_deb);
        pack.current_dir(workspace::root())
            .args([
                "--package",
                "lb-userspace",
                "--no-build",
                "--strip",
                "--quiet",
            ])
            .env("CARGO_TARGET_DIR", workspace::target_dir())
            .arg("--output")
            .arg(workspace::target_dir().join("debian/"));
        command::output(&mut pack)
    })?;
    println!("{}", package.trim());
    Ok(())
}

/// Man pages and completions, as the binary defines them.
fn write_beside(ebb: &Path, dir: &Path) -> Result<()> {
    let failed = || format!("cannot write into {}", dir.display());
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(failed)?;
    }
    fs::create_dir_all(dir).with_context(failed)?;
    command::run(Command::new(ebb).arg("man").arg(dir.join("man")))?;
    for (shell, file) in COMPLETIONS {
        let script = command::output(Command::new(ebb).args(["completions", shell]))?;
        fs::write(dir.join(file), script).with_context(failed)?;
    }
    Ok(())
}

/// `cargo-deb`, built on first use.
fn find_or_build() -> Result<PathBuf> {
    let home = workspace::tools_dir()?.join(format!("cargo-deb-{CARGO_DEB}"));
    let program = home.join("bin/cargo-deb");
    if !program.is_file() {
        fs::create_dir_all(&home).with_context(|| format!("cannot create {}", home.display()))?;
        step(&format!("building cargo-deb {CARGO_DEB} (once)"), || {
            let mut cargo = command::cargo();
            cargo
                // Not the workspace's: its configuration is not for this.
                .current_dir(&home)
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env_remove("CARGO_TARGET_DIR")
                .env_remove("RUSTFLAGS")
                .env_remove("CARGO_ENCODED_RUSTFLAGS")
                .args(["install", "cargo-deb", "--version", CARGO_DEB])
                .args(["--locked", "--force", "--root"])
                .arg(&home);
            command::run(&mut cargo)
        })?;
    }
    Ok(program)
}
