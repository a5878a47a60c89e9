//! `ebb backend list`.

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
    let all = client.backends(&args.lb).await?;
    ui.result(&all, || {
        if all.backends.is_empty() {
            String::new()
        } else {
            shown::table(&all.backends)
        }
    })?;
    if all.backends.is_empty() {
        let lb = &args.lb;
        ui.note(&format!(
            "{lb} has no backends, so clients are refused; \
             `ebb backend register {lb} [ID=]ADDRESS` adds one"
        ));
    }
    Ok(Exit::Done)
}
