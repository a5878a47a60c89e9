//! `ebb attributes show`.

use crate::{
    api::client::Client,
    cli::{Exit, error::CliError, ui::Ui},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let attributes = client.attributes(&args.lb).await?;
    ui.result(&attributes, || super::render(&attributes))?;
    Ok(Exit::Done)
}
