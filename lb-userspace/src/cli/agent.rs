//! `ebb agent`: runs the balancer.

use std::path::{Path, PathBuf};

use super::{error::CliError, exit::Exit};
use crate::{
    agent::{self, AgentError},
    logging,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The log goes to stderr: for people on a terminal, JSON elsewhere. EBB_LOG says
how much, as in EBB_LOG=debug.

SIGHUP reads the configuration again: what has changed in it since then is
applied. SIGTERM and SIGINT end the agent; the kernel program goes on
forwarding, and the next agent takes it over; `ebb unload` takes it away.")]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/ebb/ebb.toml")]
    config: PathBuf,

    /// Serve on this interface instead of those that the file names; may be
    /// given again
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
}

pub(super) fn run(args: &Args) -> Result<Exit, CliError> {
    logging::start()?;
    ended(agent::run(&args.config, &args.interfaces), &args.config)?;
    Ok(Exit::Done)
}

/// What is wrong with the file is said as `ebb check-config` says it.
pub(super) fn ended(outcome: Result<(), AgentError>, config: &Path) -> Result<(), CliError> {
    outcome.map_err(|error| match error {
        AgentError::Config(faults) => CliError::Document {
            name: config.display().to_string(),
            faults,
        },
        error => CliError::Agent(error),
    })
}
