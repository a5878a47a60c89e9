//! `ebb backend register`.

use super::{shown, spec::BackendSpec};
use crate::{
    api::client::Client,
    cli::{error::CliError, exit::Exit, ui::Ui},
    wire::NewBackends,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// The backends; all are registered, or none. The id defaults to the address,
    /// the weight (1 to 1000) to 1
    #[arg(value_name = "[ID=]ADDRESS[@WEIGHT]", required = true)]
    backends: Vec<BackendSpec>,
}

pub(super) async fn run(args: Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let new = NewBackends {
        backends: args.backends.into_iter().map(Into::into).collect(),
    };
    let registered = client.register(&args.lb, &new).await?;
    ui.result(&registered, || shown::table(&registered.backends))?;
    Ok(Exit::Done)
}
