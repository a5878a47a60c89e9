//! `cargo xtask demo`: the story of a drain, told by the lab.

use std::{ffi::OsString, process::Command};

use anyhow::Result;

use crate::{build, clean_lab, command, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Passed on to the demo.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::lab()?;
    let built = build::build(&["--package", "tests", "--bin", "ebb-demo"])?;
    clean_lab::run()?;
    let mut demo = Command::new(build::released("ebb-demo"));
    command::exec(demo.env("EBB_BIN", built.ebb).args(&args.args))
}
