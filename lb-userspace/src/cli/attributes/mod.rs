//! `ebb attributes`: a load balancer's attributes, as `key=value`.

mod assignment;
mod set;
mod show;
mod shown;
#[cfg(test)]
mod tests;

use clap::Subcommand;

pub(super) use self::{
    assignment::{Assignment, patch},
    shown::facts,
};
use super::{error::CliError, exit::Exit, ui::Ui};
use crate::api::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Show the attributes of a load balancer
    Show(show::Args),
    /// Set attributes; the others keep their values
    Set(set::Args),
}

pub(super) async fn run(command: Command, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    match command {
        Command::Show(args) => show::run(&args, client, ui).await,
        Command::Set(args) => set::run(&args, client, ui).await,
    }
}
