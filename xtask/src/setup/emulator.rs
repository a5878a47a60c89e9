//! QEMU, for those who ask for another kernel, and for nobody else.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use super::unpacked::{self, Dependencies};
use crate::workspace;

const PROGRAM: &str = "qemu-system-x86_64";
const PACKAGE: &str = "qemu-system-x86";

/// An emulator of x86-64 machines.
pub(crate) struct Emulator {
    program: PathBuf,
    /// Where its libraries are, if not where the system looks for them.
    libraries: Vec<PathBuf>,
}

impl Emulator {
    /// How it is called.
    pub(crate) fn command(&self) -> Result<Command> {
        let mut command = Command::new(&self.program);
        if !self.libraries.is_empty() {
            let path = env::join_paths(&self.libraries)
                .with_context(|| format!("a folder with a colon: {:?}", self.libraries))?;
            command.env("LD_LIBRARY_PATH", path);
        }
        Ok(command)
    }
}

/// The system's emulator, else Debian's, unpacked beside the other tools.
pub(crate) fn find_or_unpack() -> Result<Emulator> {
    if let Some(program) = workspace::find_program(PROGRAM) {
        return Ok(Emulator {
            program,
            libraries: Vec::new(),
        });
    }
    let place = workspace::tools_dir()?.join(PACKAGE);
    if !place.is_dir() {
        unpacked::put(PACKAGE, Dependencies::Missing, &place)
            .with_context(|| format!("no emulator; install one that has {PROGRAM}"))?;
    }
    at(&place)
}

/// The emulator in the file system at `root`. It finds its own data beside
/// itself.
fn at(root: &Path) -> Result<Emulator> {
    let program = root.join("usr/bin").join(PROGRAM);
    ensure!(
        program.is_file(),
        "{} is not there; remove {} to have it made anew",
        program.display(),
        root.display()
    );
    let libraries = ["usr/lib", "lib"]
        .map(|lib| root.join(lib).join("x86_64-linux-gnu"))
        .into_iter()
        .filter(|dir| dir.is_dir())
        .collect();
    Ok(Emulator { program, libraries })
}
