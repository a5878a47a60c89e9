//! `cargo xtask bench`: what a packet costs, measured.

use std::{env, ffi::OsString, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    build,
    command::{self, step},
    kernel, setup,
};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write the rows to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Few rounds: enough to see what is far off.
    #[arg(long)]
    quick: bool,
    /// Passed on to the bench; `-- --help` tells what it takes.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::lab()?;
    let objects = kernel::build(&setup::toolchain()?)?;
    let mut cargo = build::cargo("bench", &objects)?;
    cargo.args(["--package", "tests", "--bench", "path", "--"]);
    if args.quick {
        cargo.arg("--quick");
    }
    if let Some(file) = &args.json {
        // Cargo runs the bench elsewhere.
        let here = env::current_dir().context("cannot tell the current folder")?;
        cargo.arg("--json").arg(here.join(file));
    }
    step("measuring", || command::run(cargo.args(&args.args)))
}
