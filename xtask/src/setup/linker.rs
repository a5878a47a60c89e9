//! `bpf-linker`, built against the LLVM of the compiler whose bitcode it reads.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::crates;
use crate::{
    command::{self, step},
    workspace,
};

const VERSION: &str = "0.13.0";

/// The LLVM versions that this bpf-linker can be built for.
const SUPPORTED: std::ops::RangeInclusive<u32> = 21..=23;

/// The LLVM library that a compiler uses.
pub(crate) struct Llvm {
    major: u32,
    library: PathBuf,
    /// The name that what is linked against the library asks for at run time.
    soname: String,
}

impl Llvm {
    /// The shared library of LLVM `major` beside the compiler at `sysroot`.
    pub(crate) fn of(sysroot: &Path, major: u32) -> Result<Self> {
        if !SUPPORTED.contains(&major) {
            bail!("its LLVM {major} is none that bpf-linker {VERSION} knows ({SUPPORTED:?})");
        }
        let lib = sysroot.join("lib");
        // Debian keeps libraries in a folder per architecture.
        let multiarch = lib.join(format!("{}-linux-gnu", std::env::consts::ARCH));
        // The file is named by its soname, `libLLVM.so.22.1`; rustup's has
        // more after that.
        let prefix = format!("libLLVM.so.{major}.");
        for dir in [lib, multiarch] {
            let Ok(entries) = fs::read_dir(&dir) else {
                continue;
            };
            for entry in entries.flatten() {
                match entry.file_name().to_str() {
                    Some(name) if name.starts_with(&prefix) => {
                        return Ok(Self {
                            major,
                            library: entry.path(),
                            soname: name.to_owned(),
                        });
                    }
                    _ => {}
                }
            }
        }
        bail!("it has no shared library {prefix}*");
    }
}

/// The folder with a `bpf-linker` for this LLVM, built on first use.
pub(crate) fn find_or_build(compiler: &super::toolchain::Compiler) -> Result<PathBuf> {
    let llvm = &compiler.llvm;
    let home = workspace::tools_dir()?.join(format!("bpf-linker-{VERSION}-{}", llvm.soname));
    let bin = home.join("bin");
    // Cargo puts the binary in place last and whole. A link that leads nowhere
    // means that the compiler was updated or removed.
    if bin.join("bpf-linker").is_file() && home.join("lib").join(&llvm.soname).exists() {
        return Ok(bin);
    }
    step(
        &format!(
            "building bpf-linker {VERSION} for LLVM {} (once)",
            llvm.major
        ),
        || build(llvm, &home),
    )?;
    Ok(bin)
}

fn build(llvm: &Llvm, home: &Path) -> Result<()> {
    // The build looks for `libLLVM.so` in a prefix of LLVM's; its result looks
    // for the soname in the same place.
    let lib = home.join("lib");
    fs::create_dir_all(&lib).with_context(|| format!("cannot create {}", lib.display()))?;
    for name in ["libLLVM.so", &llvm.soname] {
        link(&llvm.library, &lib.join(name))?;
    }
    let mut cargo = crates::install("bpf-linker", VERSION, home);
    cargo.env("LLVM_PREFIX", home).args([
        "--no-default-features",
        "--features",
        &format!("llvm-{}", llvm.major),
    ]);
    command::run(&mut cargo)
}

/// Makes `link` lead to `target`, whatever it was before.
fn link(target: &Path, link: &Path) -> Result<()> {
    match fs::remove_file(link) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot replace {}", link.display()));
        }
        _ => {}
    }
    std::os::unix::fs::symlink(target, link)
        .with_context(|| format!("cannot link {} to {}", link.display(), target.display()))
}
