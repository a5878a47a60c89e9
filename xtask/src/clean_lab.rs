//! `cargo xtask clean-lab`: what a killed run left.
//!
//! Whatever the lab makes is called `ebb-<pid>-…` after the process that made
//! it. Only that which such a process left behind when it died is touched:
//! not what a living one still uses, and nothing of any other name.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// Where named network namespaces are.
const NAMESPACES: &str = "/run/netns";
/// Where the lab's agents pin their programs and maps.
const PINS: &str = "/sys/fs/bpf";

pub(crate) fn run() -> Result<()> {
    for namespace in leftovers(Path::new(NAMESPACES))? {
        let name = namespace.file_name().unwrap_or_default();
        // First what runs in it, or the namespace lives on without a name.
        let pids = command::output(Command::new("ip").args(["netns", "pids"]).arg(name))?;
        for pid in pids.split_whitespace() {
            println!("killing process {pid} in {}", name.display());
            // It may have ended by itself meanwhile.
            let _ = command::output(Command::new("kill").args(["-KILL", pid]));
        }
        println!("removing namespace {}", name.display());
        command::run(Command::new("ip").args(["netns", "delete"]).arg(name))?;
    }
    for place in [Path::new(PINS), &std::env::temp_dir()] {
        for folder in leftovers(place)? {
            println!("removing {}", folder.display());
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(error)
                        .with_context(|| format!("cannot remove {}", folder.display()));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// What in `dir` is named after a process of ours that is dead.
fn leftovers(dir: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", dir.display())),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", dir.display()))?;
        let owner = entry.file_name().to_str().and_then(owner);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The process that made what is called `name`, if the lab did.
fn owner(name: &str) -> Option<u32> {
    let (pid, _) = name.strip_prefix("ebb-")?.split_once('-')?;
    pid.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_labs_own_names_have_an_owner() {
        assert_eq!(owner("ebb-4711-0-client"), Some(4711));
        for other in [
            "ebb",
            "ebb-",
            "ebb-4711",
            "ebb-x-client",
            "web-4711-0",
            "myebb-1-0",
        ] {
            assert_eq!(owner(other), None, "{other}");
        }
    }
}
