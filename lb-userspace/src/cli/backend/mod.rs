//! `ebb backend`: backends of a load balancer.
//!
//! A file for each verb; [`spec`] and [`leave`] are what is typed for several of
//! them, [`shown`] is how backends are printed.

mod deregister;
mod health;
mod leave;
mod list;
mod register;
mod show;
mod shown;
mod spec;
mod wait;

use clap::Subcommand;

pub(super) use self::{
    leave::LeaveArgs,
    shown::{note, state, table},
    spec::BackendSpec,
};
use super::{error::CliError, exit::Exit, ui::Ui};
use crate::api::client::Client;

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// List the backends of a load balancer, draining ones included
    #[command(visible_alias = "ls")]
    List(list::Args),
    /// Show one backend; for an hour after it is gone, how its drain ended
    Show(show::Args),
    /// Register backends; a draining one returns to service and keeps its flows
    Register(register::Args),
    /// Take a backend out: no new flows from now on, the open ones may end
    Deregister(deregister::Args),
    /// Set a backend's health by hand, or hand it back to the health check
    Health(health::Args),
}

pub(super) async fn run(command: Command, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    match command {
        Command::List(args) => list::run(&args, client, ui).await,
        Command::Show(args) => show::run(&args, client, ui).await,
        Command::Register(args) => register::run(args, client, ui).await,
        Command::Deregister(args) => deregister::run(&args, client, ui).await,
        Command::Health(args) => health::run(&args, client, ui).await,
    }
}
