//! The real clients of the Query API, `aws` and boto3, in a Python environment
//! of their own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::apt;
use crate::{
    command::{self, step},
    workspace,
};

/// What they are tested with. Both speak for all their kind: the command line
/// as the original's documentation prints it, and the library under most
/// other tools.
const PACKAGES: [&str; 2] = ["awscli==1.46.3", "boto3==1.44.5"];

/// Made last: an environment without it was not finished.
const READY: &str = "ready";

/// The folder of `aws` and of a `python` that has boto3, made on first use.
pub(crate) fn find_or_install() -> Result<PathBuf> {
    let name = PACKAGES.map(|package| package.replace("==", "-")).join("-");
    let home = workspace::tools_dir()?.join(name);
    let bin = home.join("bin");
    if home.join(READY).is_file() && runs(&bin.join("python")) {
        return Ok(bin);
    }
    let list = PACKAGES.join(" ");
    step(&format!("installing {list} (once)"), || install(&home))?;
    Ok(bin)
}

fn install(home: &Path) -> Result<()> {
    workspace::remove(home)?;
    let python = python()?;
    command::run(Command::new(python).args(["-m", "venv"]).arg(home))?;
    command::run(
        Command::new(home.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet"])
            .args(["--disable-pip-version-check", "--no-input"])
            .args(PACKAGES),
    )?;
    let ready = home.join(READY);
    fs::write(&ready, "").with_context(|| format!("cannot write {}", ready.display()))
}

/// A Python that can make environments.
fn python() -> Result<&'static str> {
    const PROGRAM: &str = "python3";
    let able = || {
        let mut asked = Command::new(PROGRAM);
        asked.args(["-c", "import ensurepip, venv"]);
        command::output(&mut asked).is_ok()
    };
    if !able() {
        apt::install("Python for the Query API's clients", &["python3-venv"])?;
    }
    Ok(PROGRAM)
}

/// An update of the system's Python leaves environments behind that do not run.
fn runs(python: &Path) -> bool {
    let mut asked = Command::new(python);
    command::output(asked.args(["-c", "import boto3, awscli"])).is_ok()
}
