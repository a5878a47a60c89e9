//! `ebb lb`: load balancers.

mod create;
mod delete;
mod health_check;
mod list;
mod listener;
mod show;

use clap::Subcommand;

pub(super) use self::{
    create::ModeArg,
    listener::{ListenerSpec, shown as listener},
};
use super::{error::CliError, exit::Exit, ui::Ui};
use crate::api::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the load balancers
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Show one load balancer: listeners, attributes, backends
    Show(show::Args),
    /// Create a load balancer
    Create(Box<create::Args>),
    /// Show or set the health check of a load balancer
    HealthCheck(Box<health_check::Args>),
    /// Delete a load balancer: new clients are refused at once, open flows drain
    #[command(visible_alias = "rm")]
    Delete(delete::Args),
}

pub(super) async fn run(command: Command, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    match command {
        Command::List(_) => list::run(client, ui).await,
        Command::Show(args) => show::run(&args, client, ui).await,
        Command::Create(args) => create::run(*args, client, ui).await,
        Command::HealthCheck(args) => health_check::run(*args, client, ui).await,
        Command::Delete(args) => delete::run(&args, client, ui).await,
    }
}
