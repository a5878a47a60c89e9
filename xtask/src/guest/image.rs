//! Debian's kernels for virtual machines: small, with BTF, and nothing that
//! booting from memory needs is a module.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::Series;
use crate::{setup, workspace};

/// Where what belongs to a kernel is kept.
pub(super) fn dir(series: Series) -> PathBuf {
    workspace::target_dir()
        .join("kernels")
        .join(series.to_string())
}

/// The kernel's image. Once there it stays, whoever put it there.
pub(super) fn find_or_download(series: Series) -> Result<PathBuf> {
    let dir = dir(series);
    let image = dir.join("vmlinuz");
    if !image.is_file() {
        fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        download(series, &dir, &image).with_context(|| {
            format!(
                "no kernel {series} to boot. Another way: put its image, with BTF, at {}",
                image.display()
            )
        })?;
    }
    Ok(image)
}

fn download(series: Series, dir: &Path, image: &Path) -> Result<()> {
    let pattern = format!(
        r"^linux-image-{}\.{}\..*-cloud-amd64$",
        series.major, series.minor
    );
    // The package is dropped when the image is taken out of it.
    let package = dir.join("package");
    setup::unpacked(&pattern, &package)?;
    let inside = only(&package.join("boot"), "vmlinuz-")?;
    fs::rename(&inside, image).with_context(|| format!("cannot move {}", inside.display()))?;
    fs::remove_dir_all(&package).with_context(|| format!("cannot remove {}", package.display()))
}

/// The one file in `dir` whose name begins so.
fn only(dir: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(dir).with_context(|| format!("cannot list {}", dir.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    match found.pop() {
        Some(file) if found.is_empty() => Ok(file),
        _ => bail!("{} should have exactly one {prefix}*", dir.display()),
    }
}
