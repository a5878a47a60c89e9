//! `ebb attributes show`.

use super::shown;
use crate::{
    api::client::Client,
    cli::{error::CliError, exit::Exit, ui::Ui},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let attributes = client.attributes(&args.lb).await?;
    ui.result(&attributes, || shown::render(&attributes))?;
    Ok(Exit::Done)
}
