//! The gates that are tools of Rust's own: rustfmt, clippy, rustdoc.

use std::process::Command;

use anyhow::Result;

use crate::{
    build, command,
    kernel::{self, Objects},
    setup::Toolchain,
};

pub(super) fn format() -> Result<()> {
    command::run(command::cargo().args(["fmt", "--all", "--check"]))
}

/// Clippy on what the kernel gets. It comes with the compiler that builds for
/// BPF: on Debian, as `rust-web-clippy`; the host's would be of another version
/// than the `core` that is built for it.
pub(super) fn kernel(toolchain: &Toolchain) -> Result<()> {
    kernel::lint(toolchain)
}

/// Clippy on everything as the host compiles it. Features that a crate of ours
/// has are all on here; without them lb-common is what the kernel gets.
pub(super) fn lint(objects: Option<&Objects>) -> Result<()> {
    let mut clippy = cargo("clippy", objects)?;
    clippy.args(["--quiet", "--workspace", "--all-targets", "--all-features"]);
    command::run(clippy.args(["--", "-D", "warnings"]))
}

/// Rustdoc on what is private as well: nothing is published, and who reads the
/// pages reads the source beside them. So a public page may lead to a private one.
pub(super) fn docs(objects: Option<&Objects>) -> Result<()> {
    let mut doc = cargo("doc", objects)?;
    doc.env(
        "RUSTDOCFLAGS",
        "-D warnings -A rustdoc::private_intra_doc_links",
    );
    doc.args([
        "--quiet",
        "--workspace",
        "--no-deps",
        "--document-private-items",
    ]);
    command::run(&mut doc)
}

/// Cargo, given the kernel program if there is one.
pub(super) fn cargo(verb: &str, objects: Option<&Objects>) -> Result<Command> {
    match objects {
        Some(objects) => build::cargo(verb, objects),
        None => {
            let mut cargo = command::cargo();
            cargo.arg(verb);
            Ok(cargo)
        }
    }
}
