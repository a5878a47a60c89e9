//! `ebb backend deregister`.

use super::{state, wait};
use crate::{
    api::client::Client,
    cli::{Exit, error::CliError, ui::Ui, words},
    model::DRAIN_TIMEOUT,
    wire::{Backend, Deregister, DrainOutcome},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The answer means that no new flow reaches the backend any more. A backend that
drains already keeps its deadline, unless --timeout moves it (it counts from
when the drain began) or --now ends it.

With --wait the exit code is 0 if every flow ended by itself, and 3 if some
were cut.")]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// The backend's id
    #[arg(value_name = "BACKEND")]
    backend: String,

    /// How long open flows may live: 1 to 3600 seconds; when left out, the
    /// attribute connection-draining.timeout
    #[arg(long, value_name = "SECONDS", value_parser = timeout, conflicts_with = "now")]
    timeout: Option<u32>,

    /// Close every open flow at once, at both ends
    #[arg(long)]
    now: bool,

    /// Wait until the last flow has ended or the deadline has passed
    #[arg(long, short)]
    wait: bool,
}

/// A drain's timeout as typed.
pub(in crate::cli) fn timeout(typed: &str) -> Result<u32, String> {
    typed
        .parse()
        .ok()
        .filter(|seconds| DRAIN_TIMEOUT.contains(seconds))
        .ok_or_else(|| {
            format!(
                "it must be a whole number of seconds from {} to {}",
                DRAIN_TIMEOUT.start(),
                DRAIN_TIMEOUT.end()
            )
        })
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let how = Deregister {
        timeout: args.timeout,
        now: args.now,
    };
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
        (Some(drain), Some(_)) => format!("{id} of {lb} is {word}: {}", super::progress(drain)),
        (None, _) => format!("{id} of {lb} is {word}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_one_second_to_one_hour() {
        assert_eq!(timeout("1"), Ok(1));
        assert_eq!(timeout("3600"), Ok(3600));
        for wrong in ["0", "3601", "-1", "5m", "", "1.5", "4294967297"] {
            let refused = timeout(wrong).expect_err(wrong);
            assert!(refused.contains("1 to 3600"), "{refused}");
        }
    }
}
