//! The package of version 0.1.0, which hosts are upgraded from: built once from the
//! commit that was released, as that commit builds it.

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

const VERSION: &str = "0.1.0";
const COMMIT: &str = "28333ab94d1d8457fb1646f054b803bdbca3e2f9";

/// The package, built on first use and kept with the other tools.
pub(super) fn find_or_build() -> Result<PathBuf> {
    let place = workspace::tools_dir()?.join(format!("ebb-{VERSION}.deb"));
    if !place.is_file() {
        let source = workspace::target_dir().join("hosts").join(VERSION);
        let package = step(&format!("building the package of {VERSION} (once)"), || {
            unpack(&source)?;
            build(&source)
        })?;
        // In place last and whole.
        let part = place.with_extension("part");
        fs::copy(&package, &part).with_context(|| format!("cannot copy {}", package.display()))?;
        fs::rename(&part, &place).with_context(|| format!("cannot make {}", place.display()))?;
        workspace::remove(&source)?;
    }
    Ok(place)
}

/// Puts the source as it was released into `place`.
fn unpack(place: &Path) -> Result<()> {
    workspace::make_anew(place)?;
    let archive = place.with_extension("tar");
    let mut git = Command::new("git");
    git.current_dir(workspace::root())
        .args(["archive", COMMIT, "--output"])
        .arg(&archive);
    command::output(&mut git).with_context(|| {
        format!("the source of {VERSION} is not here; `git fetch --unshallow` brings it")
    })?;
    let mut tar = Command::new("tar");
    command::run(tar.arg("-xf").arg(&archive).arg("-C").arg(place))?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))
}

fn build(source: &Path) -> Result<PathBuf> {
    let mut cargo = command::cargo();
    cargo
        .current_dir(source)
        .env_remove("CARGO_TARGET_DIR")
        .args(["xtask", "package"]);
    let said = command::output_of_long(&mut cargo)?;
    let package = said.lines().last().unwrap_or_default().trim();
    Ok(source.join(package))
}
