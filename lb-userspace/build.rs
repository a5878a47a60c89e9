//! Embeds the kernel programs.
//!
//! `cargo xtask build` names the folder with their objects in `EBB_BPF_DIR`. A
//! plain `cargo build` has none and embeds empty ones, so that an editor, clippy
//! and the tests of pure code never need the BPF toolchain.

use std::{env, error::Error, fs, path::PathBuf};

/// The binaries of `lb-ebpf` that `ebb` carries.
const OBJECTS: [&str; 2] = ["ebb-bpf", "ebb-decap"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=EBB_BPF_DIR");
    println!("cargo::rerun-if-changed=build.rs");

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo did not set OUT_DIR")?);
    let built = env::var_os("EBB_BPF_DIR").map(PathBuf::from);
    for name in OBJECTS {
        let embedded = out.join(name).with_extension("o");
        match &built {
            Some(folder) => {
                let object = folder.join(name);
                println!("cargo::rerun-if-changed={}", object.display());
                fs::copy(&object, &embedded)
                    .map_err(|err| format!("EBB_BPF_DIR={}: {name}: {err}", folder.display()))?;
            }
            None => fs::write(&embedded, [])?,
        }
    }
    Ok(())
}
