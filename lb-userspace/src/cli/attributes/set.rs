//! `ebb attributes set`.

use super::{
    assignment::{Assignment, patch},
    shown,
};
use crate::{
    api::client::Client,
    cli::{error::CliError, exit::Exit, ui::Ui},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys:
  connection-draining.enabled  true or false: off, deregistration and ill health
                               close flows at once
  connection-draining.timeout  1 to 3600 seconds; for drains that begin later
  idle-timeout                 1 to 4000 seconds
  close-rate                   forced closes per second; 0 is no limit

Example:
  ebb attributes set web connection-draining.timeout=600 idle-timeout=350")]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// What to set
    #[arg(value_name = "KEY=VALUE", required = true)]
    assignments: Vec<Assignment>,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let attributes = client
        .set_attributes(&args.lb, &patch(&args.assignments))
        .await?;
    ui.result(&attributes, || shown::render(&attributes))?;
    Ok(Exit::Done)
}
