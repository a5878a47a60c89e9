//! Embeds the kernel program.
//!
//! `cargo xtask build` names the object in `EBB_BPF_OBJECT`. A plain
//! `cargo build` has none and embeds an empty one, so that an editor, clippy
//! and the tests of pure code never need the BPF toolchain.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=EBB_BPF_OBJECT");
    println!("cargo::rerun-if-changed=build.rs");

    let embedded =
        PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?).join("ebb-bpf.o");
    match env::var_os("EBB_BPF_OBJECT").map(PathBuf::from) {
        Some(object) => {
            println!("cargo::rerun-if-changed={}", object.display());
            fs::copy(&object, &embedded)
                .map_err(|err| format!("EBB_BPF_OBJECT={}: {err}", object.display()))?;
        }
        None => fs::write(&embedded, [])?,
    }
    Ok(())
}
