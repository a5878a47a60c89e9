//! `ebb agent`: runs the balancer.

use std::path::{Path, PathBuf};

use super::{error::CliError, exit::Exit, ui::Ui};
use crate::{
    agent::{self, AgentError},
    logging,
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The log goes to stderr: as text on a terminal, as JSON otherwise. EBB_LOG sets the
level, for example EBB_LOG=debug.

SIGHUP reloads the configuration and applies what has changed in it. SIGTERM and SIGINT
stop the agent; the kernel program keeps forwarding until the next agent takes it over,
or `ebb unload` removes it.

Exits 78 if starting it again would fail the same way until the configuration, or what
it names, is fixed; 1 if a later start may work.")]
pub(super) struct Args {
    /// The configuration file
    #[arg(long, value_name = "FILE", default_value = "/etc/ebb/ebb.toml")]
    config: PathBuf,

    /// Serve on this interface instead of those in the file; may be repeated
    #[arg(long = "interface", value_name = "IF")]
    interfaces: Vec<String>,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<Exit, CliError> {
    let refused = |error: &CliError| {
        ui.error(&error.body());
        Ok(Exit::Unworkable)
    };
    if let Err(error) = logging::start() {
        return refused(&error.into());
    }
    match agent::run(&args.config, &args.interfaces) {
        Err(error) if error.is_lasting() => refused(&said(error, &args.config)),
        outcome => ended(outcome, &args.config).map(|()| Exit::Done),
    }
}

/// What is wrong with the file is said as `ebb check-config` says it.
pub(super) fn ended(outcome: Result<(), AgentError>, config: &Path) -> Result<(), CliError> {
    outcome.map_err(|error| said(error, config))
}

fn said(error: AgentError, config: &Path) -> CliError {
    match error {
        AgentError::Config(faults) => CliError::Document {
            name: config.display().to_string(),
            faults,
        },
        error => CliError::Agent(error),
    }
}
