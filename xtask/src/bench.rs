//! `cargo xtask bench`: what a packet costs; with `--scale` what many load balancers
//! cost, with `--virtual` what a balancer costs between virtual devices, measured.

use std::{env, ffi::OsString, path::PathBuf};

use anyhow::{Context as _, Result};

use crate::{
    build::{self, Built},
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
    /// Measure an agent with a thousand load balancers instead.
    #[arg(long)]
    scale: bool,
    /// Measure the CPU time that a client's bytes and requests take between virtual
    /// devices instead, against routing, nftables, HAProxy and nginx.
    #[arg(long = "virtual", conflicts_with = "scale")]
    between_virtual_devices: bool,
    /// Passed on to the bench; `-- --help` tells what it takes.
    #[arg(last = true)]
    args: Vec<OsString>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    setup::lab()?;
    if args.between_virtual_devices {
        setup::rivals()?;
    }
    let of_the_agent = match args {
        Args { scale: true, .. } => Some("scale"),
        Args {
            between_virtual_devices: true,
            ..
        } => Some("virtual"),
        _ => None,
    };
    let mut cargo = if let Some(bench) = of_the_agent {
        let built = build::build(&[])?;
        // Only the agent and its program are measured: what drives them need not be fast.
        let mut cargo = build::cargo("test", &built.objects)?;
        cargo.env("EBB_BIN", &built.ebb);
        cargo.args(["--package", "tests", "--bench", bench, "--", "--bench"]);
        cargo
    } else {
        let mut cargo = build::cargo("bench", &kernel::build(&setup::toolchain()?)?)?;
        cargo.args(["--package", "tests", "--bench", "path", "--"]);
        cargo
    };
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

/// One round, unoptimized: whether the bench still does what it says, and not how fast.
pub(crate) fn briefly(built: &Built) -> Result<()> {
    let mut cargo = build::cargo("test", &built.objects)?;
    cargo.args(["--package", "tests", "--bench", "path", "--"]);
    command::run(cargo.args(["--bench", "--rounds", "1"]))
}
