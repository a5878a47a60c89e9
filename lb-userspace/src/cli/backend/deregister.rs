//! `ebb backend deregister`.

use super::{
    leave::LeaveArgs,
    shown::{progress, state},
    wait,
};
use crate::{
    api::client::Client,
    cli::{error::CliError, exit::Exit, ui::Ui, words},
    wire::{Backend, DrainOutcome},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Once the command returns, no new flow reaches the backend. A backend that is already
draining keeps its deadline, unless --timeout moves it (counted from when the drain
began) or --now ends it.

With --wait, the exit code is 0 if every flow ended by itself and 3 if some were cut.")]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// The backend's id
    #[arg(value_name = "BACKEND")]
    backend: String,

    #[command(flatten)]
    leave: LeaveArgs,

    /// Wait until the last flow has ended or the deadline has passed
    #[arg(long, short)]
    wait: bool,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let how = (&args.leave).into();
    let backend = client.deregister(&args.lb, &args.backend, &how).await?;
    if !args.wait {
        ui.result(&backend, || describe(&args.lb, &backend))?;
        return Ok(Exit::Done);
    }
    let backend = wait::until_over(&args.lb, backend, client, ui).await?;
    ui.result(&backend, || describe(&args.lb, &backend))?;
    match outcome(&backend) {
        Some(DrainOutcome::Cut { flows: 1.. }) => Ok(Exit::DrainCut),
        _ => Ok(Exit::Done),
    }
}

fn outcome(backend: &Backend) -> Option<&DrainOutcome> {
    backend.drain.as_ref()?.outcome.as_ref()
}

fn describe(lb: &str, backend: &Backend) -> String {
    let id = &backend.id;
    let (word, _) = state(backend);
    match (&backend.drain, outcome(backend)) {
        (Some(drain), None) => format!(
            "{id} of {lb} is {word}: no new flows; {} open, {} to the deadline",
            words::counted(drain.flows_left, "flow"),
            words::duration(drain.seconds_left.into())
        ),
        (Some(drain), Some(_)) => format!("{id} of {lb} is {word}: {}", progress(drain)),
        (None, _) => format!("{id} of {lb} is {word}"),
    }
}
