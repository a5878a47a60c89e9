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
    setup, workspace,
};

const CARGO_DEB: &str = "3.8.0";

/// What each shell's completion script is called.
const COMPLETIONS: [(&str, &str); 3] =
    [("bash", "ebb.bash"), ("zsh", "_ebb"), ("fish", "ebb.fish")];

pub(crate) fn run() -> Result<()> {
    println!("{}", build(None)?.display());
    Ok(())
}

/// The package, of this version or of the one that is given.
pub(crate) fn build(version: Option<&str>) -> Result<PathBuf> {
    let cargo_deb = setup::crate_built("cargo-deb", CARGO_DEB)?;
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
        if let Some(version) = version {
            pack.args(["--deb-version", version]);
        }
        command::output(&mut pack)
    })?;
    Ok(package.trim().into())
}

/// Man pages and completions, as the binary defines them.
pub(crate) fn write_beside(ebb: &Path, dir: &Path) -> Result<()> {
    let failed = || format!("cannot write into {}", dir.display());
    workspace::make_anew(dir)?;
    command::run(Command::new(ebb).arg("man").arg(dir.join("man")))?;
    for (shell, file) in COMPLETIONS {
        let script = command::output(Command::new(ebb).args(["completions", shell]))?;
        fs::write(dir.join(file), script).with_context(failed)?;
    }
    Ok(())
}
