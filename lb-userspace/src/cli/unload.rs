//! `ebb unload`: takes ebb off its interfaces, with all flows.

use std::path::PathBuf;

use super::{agent::ended, error::CliError, exit::Exit, ui::Ui};
use crate::agent;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Open flows are lost, so drain first. The load balancers stay in the state folder, and the
next agent restores them. No agent may be running.")]
pub(super) struct Args {
    /// The configuration file that the agent was started with
    #[arg(long, value_name = "FILE", default_value = "/etc/ebb/ebb.toml")]
    config: PathBuf,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<Exit, CliError> {
    ended(agent::unload(&args.config), &args.config)?;
    ui.note("ebb is detached from its interfaces; its flows and VIPs are gone");
    Ok(Exit::Done)
}
