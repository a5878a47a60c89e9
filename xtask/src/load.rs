//! `cargo xtask build-and-load`: the agent on this host, in the foreground.

use std::{path::PathBuf, process::Command};

use anyhow::Result;

use crate::{build, command, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The interfaces on which clients and backends are reached.
    #[arg(long = "interface", value_name = "IF", required = true, num_args = 1..)]
    interfaces: Vec<String>,
    /// The agent's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let built = build::build(&[])?;
    setup::bpffs()?;
    let mut agent = Command::new(built.ebb);
    agent.arg("agent").arg("--config").arg(&args.config);
    for interface in &args.interfaces {
        agent.arg("--interface").arg(interface);
    }
    command::exec(&mut agent)
}
