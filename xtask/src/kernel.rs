//! Building `lb-ebpf`: the objects that the kernel loads.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    command::{self, step},
    setup::Toolchain,
    workspace,
};

const TARGET: &str = "bpfel-unknown-none";

/// What the build made: one object per binary of `lb-ebpf`.
pub(crate) struct Objects {
    dir: PathBuf,
}

impl Objects {
    /// The folder they are in.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Every object: what loads all that `lb-ebpf` has takes these.
    pub(crate) fn all(&self) -> Result<Vec<PathBuf>> {
        let entries = fs::read_dir(&self.dir)
            .with_context(|| format!("cannot list {}", self.dir.display()))?;
        let mut objects = Vec::new();
        for entry in entries {
            let path = entry
                .with_context(|| format!("cannot list {}", self.dir.display()))?
                .path();
            // Beside them cargo leaves folders, and lists of what they are made from.
            if path.is_file() && path.extension().is_none() {
                objects.push(path);
            }
        }
        Ok(objects)
    }
}

/// Builds every binary of `lb-ebpf`.
pub(crate) fn build(toolchain: &Toolchain) -> Result<Objects> {
    step("building the kernel program", || {
        command::run(cargo(toolchain, &toolchain.cargo())?.args(for_the_kernel("build")))
    })?;
    Ok(Objects {
        dir: target_dir().join(TARGET).join("release"),
    })
}

/// Clippy's word on `lb-ebpf` as it is built for the kernel: what it compiles
/// to elsewhere is not what runs.
pub(crate) fn lint(toolchain: &Toolchain) -> Result<()> {
    // Called by its path: a cargo that looks for `cargo clippy` may find that
    // of another toolchain first.
    let mut clippy = cargo(toolchain, &toolchain.cargo_clippy()?)?;
    clippy
        .env("CARGO", toolchain.cargo())
        .args(for_the_kernel("clippy"))
        .args(["--", "-D", "warnings"]);
    command::run(&mut clippy)
}

fn target_dir() -> PathBuf {
    workspace::target_dir().join("bpf")
}

/// What cargo is told, whatever it does with the kernel program.
fn for_the_kernel(verb: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = [verb, "--package", "lb-ebpf", "--bins", "--release"]
        .into_iter()
        .chain(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .map(OsString::from)
        .collect();
    arguments.push(target_dir().into());
    arguments
}

/// `program`, which is a cargo, in an environment for the kernel's toolchain.
fn cargo(toolchain: &Toolchain, program: &Path) -> Result<Command> {
    let rustflags = [
        // What aya-ebpf picks the layout of `pt_regs` by.
        &format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
        // BTF is made from it; the verifier's complaints quote source lines by it.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        // 32-bit arithmetic and jumps, atomics that fetch: Linux 5.12 and later.
        "-Ctarget-cpu=v3",
    ]
    .join("\x1f");

    let mut cargo = Command::new(program);
    // The cargo that runs xtask leaves its own toolchain in the environment.
    // None of it may reach this build, nor may flags meant for the host.
    for (name, _) in env::vars_os() {
        if is_of_the_host_build(&name) {
            cargo.env_remove(name);
        }
    }
    cargo
        .current_dir(workspace::root())
        .env("RUSTC", toolchain.rustc())
        .env("RUSTC_BOOTSTRAP", "1") // build-std on a compiler that is not a nightly
        .env("PATH", path_with(toolchain.linker_dir())?)
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags);
    Ok(cargo)
}

/// Whether the variable steers a build for the host, or the choice of its
/// toolchain. Where cargo finds crates (CARGO_HOME, proxies, registries) is
/// the user's and stays.
fn is_of_the_host_build(name: &OsStr) -> bool {
    const NAMES: [&str; 12] = [
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_TARGET_DIR",
        "LD_LIBRARY_PATH",
        "RUSTC",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    command::is_of_this_package(name)
        || name.to_str().is_some_and(|name| {
            NAMES.contains(&name)
                || [
                    "CARGO_BUILD_",
                    "CARGO_PROFILE_",
                    "CARGO_TARGET_",
                    "CARGO_UNSTABLE_",
                ]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
}

fn path_with(first: &Path) -> Result<OsString> {
    let rest = env::var_os("PATH").unwrap_or_default();
    env::join_paths(
        [first.to_owned()]
            .into_iter()
            .chain(env::split_paths(&rest)),
    )
    .with_context(|| format!("{} cannot be on PATH", first.display()))
}
