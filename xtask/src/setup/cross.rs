//! Building for another processor: a C compiler and linker for it, with its C library.

use anyhow::{Result, bail};

use super::apt;
use crate::workspace;

/// A target that ebb is built for on a host of another kind.
struct Target {
    triple: &'static str,
    compiler: &'static str,
    packages: &'static [&'static str],
}

const TARGETS: [Target; 1] = [Target {
    triple: "aarch64-unknown-linux-gnu",
    compiler: "aarch64-linux-gnu-gcc",
    packages: &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
}];

/// The C compiler for `triple`, which links as well.
pub(crate) fn find_or_install(triple: &str) -> Result<&'static str> {
    let Some(target) = TARGETS.iter().find(|target| target.triple == triple) else {
        let known: Vec<_> = TARGETS.iter().map(|target| target.triple).collect();
        bail!(
            "ebb is built for {} and for the host itself",
            known.join(", ")
        );
    };
    if workspace::find_program(target.compiler).is_none() {
        apt::install("a compiler for another processor", target.packages)?;
    }
    Ok(target.compiler)
}
