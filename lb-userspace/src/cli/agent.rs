//! `ebb agent`: runs the balancer.

use std::path::PathBuf;

use super::{Exit, error::CliError};
use crate::{
    agent::{self, AgentError},
    logging,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
SIGHUP reads the configuration again: what has changed in it since then is
applied. SIGTERM and SIGINT end the agent; the kernel program goes on
forwarding, and the next agent takes it over.")]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/ebb/ebb.toml")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<Exit, CliError> {
    logging::start()?;
    match agent::run(&args.config) {
        Ok(()) => Ok(Exit::Done),
        Err(AgentError::Config(faults)) => Err(CliError::Document {
            name: args.config.display().to_string(),
            faults,
        }),
        Err(error) => Err(CliError::Agent(error)),
    }
}
