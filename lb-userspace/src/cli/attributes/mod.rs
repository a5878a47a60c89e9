//! `ebb attributes`: a load balancer's attributes, as `key=value`.

mod assignment;
mod set;
mod show;

use clap::Subcommand;

pub(super) use self::assignment::{Assignment, patch};
use super::{Exit, error::CliError, table, ui::Ui};
use crate::{api::client::Client, wire::Attributes};

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the attributes of a load balancer
    Show(show::Args),
    /// Set attributes; those not named stay as they are
    Set(set::Args),
}

pub(super) async fn run(command: Command, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    match command {
        Command::Show(args) => show::run(&args, client, ui).await,
        Command::Set(args) => set::run(&args, client, ui).await,
    }
}

pub(super) fn facts(attributes: &Attributes) -> [(&'static str, String); 4] {
    let draining = attributes.connection_draining;
    [
        ("connection-draining.enabled", draining.enabled.to_string()),
        (
            "connection-draining.timeout",
            format!("{} s", draining.timeout),
        ),
        ("idle-timeout", format!("{} s", attributes.idle_timeout)),
        (
            "close-rate",
            match attributes.close_rate {
                0 => "0 (no limit)".to_owned(),
                rate => format!("{rate} flows/s"),
            },
        ),
    ]
}

fn render(attributes: &Attributes) -> String {
    table::facts(facts(attributes))
}
