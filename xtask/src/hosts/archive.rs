//! What a story finds on its second disk: a tar archive of the stories, what they
//! are told with, and what they install.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::first;
use crate::{
    command::{self, step},
    elsewhere::{image, tarball},
    package, workspace,
};

/// Where stories are, and what they are told with.
pub(super) fn sources() -> PathBuf {
    workspace::root().join("tests/package")
}

/// The names of all stories.
pub(super) fn stories() -> Result<Vec<String>> {
    let dir = sources().join("stories");
    let entries = fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let name = entry.file_name().display().to_string();
        names.extend(name.strip_suffix(".sh").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// Builds the packages, this one as its own successors too, and packs them with the
/// stories into `archive`.
pub(super) fn pack(archive: &Path) -> Result<()> {
    let packages = archive.with_extension("packages");
    workspace::make_anew(&packages)?;
    let put = |package: PathBuf, name: &str| {
        fs::copy(&package, packages.join(name))
            .with_context(|| format!("cannot copy {}", package.display()))
    };
    // One by one: a package that is built takes the place of the one before.
    put(first::find_or_build()?, "first.deb")?;
    put(package::build(None)?, "ebb.deb")?;
    put(package::build(Some("99.0.0"))?, "next.deb")?;
    put(package::build(Some("99.1.0"))?, "after-next.deb")?;
    put(tarball::build()?, "ebb.tar.gz")?;
    put(image::build()?, "image.tar")?;
    let mut tar = Command::new("tar");
    tar.arg("--create").arg("--file").arg(archive);
    for dir in [&sources(), &packages] {
        tar.arg("--directory").arg(dir).arg(".");
    }
    step("packing the stories", || command::run(&mut tar))
}
