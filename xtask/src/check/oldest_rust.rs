//! The gate `oldest-rust`: the minimum Rust that Cargo.toml names is the minimum.
//!
//! - rust-toolchain.toml picks a channel that has it, and xtask looks for the
//!   same minimum in what builds the kernel program.
//! - Every dependency is content with it, by its own word.
//! - Our code is: if the compiler that runs is of that version, the gate `lint`
//!   proves it by compiling all there is. If it is newer, one of that version is
//!   asked, where rustup has it; else clippy's `incompatible_msrv`, which the same
//!   gate has on, knows what of the standard library is younger, and nothing
//!   looks for younger syntax.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    command, setup,
    setup::{OLDEST_RUSTC, major_minor},
    workspace,
};

pub(super) fn check(metadata: &serde_json::Value) -> Result<()> {
    let packages = metadata["packages"].as_array().context("no packages")?;
    let oldest = ours(packages)?;
    ensure!(
        oldest == OLDEST_RUSTC,
        "Cargo.toml's rust-version is {}, and OLDEST_RUSTC in xtask/src/setup/toolchain.rs is {}",
        shown(oldest),
        shown(OLDEST_RUSTC)
    );
    let channel = channel()?;
    ensure!(
        channel == "stable" || major_minor(&channel).is_some_and(|channel| channel >= oldest),
        "rust-toolchain.toml's channel {channel} need not have Rust {}",
        shown(oldest)
    );
    let younger = younger_than(oldest, packages);
    ensure!(
        younger.is_empty(),
        "these need a newer Rust than {}: {}",
        shown(oldest),
        younger.join(", ")
    );
    let running = running()?;
    ensure!(
        running >= oldest,
        "this Rust is {}, and {} is the oldest that will do",
        shown(running),
        shown(oldest)
    );
    if running == oldest {
        return Ok(());
    }
    match toolchain_of(oldest) {
        Some(bin) => compile_with(&bin),
        None => {
            eprintln!(
                "    Rust {} is not here: it is not proven that our own syntax is that old",
                shown(oldest)
            );
            Ok(())
        }
    }
}

/// The `rust-version` of the workspace's packages, which is one.
fn ours(packages: &[serde_json::Value]) -> Result<(u32, u32)> {
    let ours: Vec<&serde_json::Value> = packages
        .iter()
        .filter(|package| package["source"].is_null())
        .map(|package| &package["rust_version"])
        .collect();
    let first = *ours.first().context("the workspace has no packages")?;
    ensure!(
        ours.iter().all(|version| *version == first),
        "the workspace's packages name different versions of Rust"
    );
    first
        .as_str()
        .and_then(major_minor)
        .context("Cargo.toml names no rust-version")
}

/// Packages that say that they need more.
fn younger_than(oldest: (u32, u32), packages: &[serde_json::Value]) -> Vec<String> {
    packages
        .iter()
        .filter_map(|package| {
            let needs = package["rust_version"].as_str()?;
            let too_much = major_minor(needs).is_some_and(|needs| needs > oldest);
            too_much.then(|| format!("{} ({needs})", package["name"].as_str().unwrap_or("?")))
        })
        .collect()
}

/// What rust-toolchain.toml says.
fn channel() -> Result<String> {
    let file = workspace::root().join("rust-toolchain.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("no {}", file.display()))?;
    let parsed: toml::Table = text
        .parse()
        .with_context(|| format!("{} is not TOML", file.display()))?;
    match parsed.get("toolchain").and_then(|it| it.get("channel")) {
        Some(toml::Value::String(channel)) => Ok(channel.clone()),
        _ => bail!("{} names no channel", file.display()),
    }
}

/// The version of the compiler that cargo uses for us.
fn running() -> Result<(u32, u32)> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = command::output(Command::new(rustc).arg("--version"))?;
    // rustc 1.95.0 (59807616e 2026-04-14)
    version
        .split_whitespace()
        .nth(1)
        .and_then(major_minor)
        .with_context(|| format!("rustc --version says {version:?}"))
}

/// The programs of a toolchain of rustup's of that version.
fn toolchain_of(version: (u32, u32)) -> Option<PathBuf> {
    let prefix = format!("{}.", shown(version));
    setup::rustup_toolchains(|name| name.starts_with(&prefix))
        .into_iter()
        .map(|sysroot| sysroot.join("bin"))
        .find(|bin| bin.join("cargo").is_file() && bin.join("rustc").is_file())
}

fn compile_with(bin: &std::path::Path) -> Result<()> {
    let mut check = Command::new(bin.join("cargo"));
    check
        .current_dir(workspace::root())
        .env("RUSTC", bin.join("rustc"))
        .args([
            "check",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--target-dir",
        ])
        .arg(workspace::target_dir().join("oldest-rust"));
    command::run(&mut check)
}

fn shown((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_dependency_that_needs_more_is_named() {
        let packages = [
            json!({"name": "old", "rust_version": "1.60.0"}),
            json!({"name": "silent", "rust_version": null}),
            json!({"name": "new", "rust_version": "1.97"}),
        ];
        assert_eq!(younger_than((1, 95), &packages), ["new (1.97)"]);
    }

    #[test]
    fn our_packages_name_one_version() {
        let ours_say = |one: &str, other: &str| {
            ours(&[
                json!({"name": "a", "source": null, "rust_version": one}),
                json!({"name": "b", "source": null, "rust_version": other}),
                json!({"name": "c", "source": "registry", "rust_version": "1.60"}),
            ])
        };
        assert_eq!(ours_say("1.95", "1.95").expect("one"), (1, 95));
        assert!(ours_say("1.95", "1.94").is_err());
    }
}
