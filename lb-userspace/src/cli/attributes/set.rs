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
#[command(after_help = format!(
    "Keys:\n{}\nExample:\n  \
     ebb attributes set web connection-draining.timeout=600 idle-timeout=350",
    shown::keys()
))]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// The attributes to set
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
