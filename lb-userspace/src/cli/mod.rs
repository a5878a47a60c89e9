//! The command line: nouns, then verbs, one file per verb.
//!
//! Each verb has its arguments as typed (a clap struct), asks the agent over
//! the socket, and prints: a table for people, or with `--json` the API's own
//! document. What only people see (notes, progress, errors) goes to stderr.

mod agent;
mod apply;
mod attributes;
mod backend;
mod check_config;
mod completions;
mod decap;
mod doctor;
mod document;
mod error;
mod events;
mod exit;
mod flows;
mod init;
mod lb;
mod man;
mod parses;
#[cfg(test)]
mod samples;
mod status;
mod table;
mod top;
mod ui;
mod unload;
mod words;

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, Parser, Subcommand};

use self::{error::CliError, exit::Exit, ui::Ui};
use crate::api::client::Client;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  refused or failed
  2  usage error: the agent was not contacted
  3  `backend deregister --wait`: the drain is over, but some flows were cut
  78 `agent`: it cannot run as configured; starting it again does not help";

/// A Layer-4 load balancer that lets connections end well.
#[derive(Debug, Parser)]
#[command(name = "ebb", version, after_help = EXIT_CODES)]
struct Args {
    /// The agent's socket
    #[arg(
        long,
        global = true,
        env = "EBB_SOCKET",
        default_value = "/run/ebb/ebb.sock",
        hide_env_values = true,
        value_name = "PATH",
        help_heading = "Global options"
    )]
    socket: PathBuf,

    /// Print JSON, errors included, in the admin API's format
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the balancer on this host
    Agent(agent::Args),
    /// Detach ebb from its interfaces and drop all flows
    Unload(unload::Args),
    /// List, show, create, check and delete load balancers
    #[command(subcommand)]
    Lb(lb::Command),
    /// List, show, register and deregister backends, or set their health
    #[command(subcommand)]
    Backend(backend::Command),
    /// Show or set the attributes of a load balancer
    #[command(subcommand, visible_alias = "attribute")]
    Attributes(attributes::Command),
    /// Show the agent's status and totals
    Status(status::Args),
    /// Watch load balancers, backends and drains live, full screen
    Top(top::Args),
    /// List open flows, the oldest first
    Flows(flows::Args),
    /// Show past events, and new ones with --follow
    Events(events::Args),
    /// Apply the load balancers declared in a configuration file
    Apply(apply::Args),
    /// Write a first configuration file, tailored to this host
    Init(init::Args),
    /// Check a configuration file and report every error
    CheckConfig(check_config::Args),
    /// Check whether ebb can run on this host, and say how to fix what is wrong
    Doctor(doctor::Args),
    /// Decapsulate ipip packets for a VIP (runs on a backend)
    Decap(decap::Args),
    /// Print a completion script for a shell
    Completions(completions::Args),
    /// Write the man pages to a directory
    #[command(hide = true)]
    Man(man::Args),
    /// Check that commands parse
    #[command(hide = true)]
    Parses(parses::Args),
}

/// The whole of the binary.
#[must_use]
pub fn main() -> ExitCode {
    let typed: Vec<OsString> = std::env::args_os().collect();
    let args = match Args::try_parse_from(&typed) {
        Ok(args) => args,
        Err(e) => return not_parsed(&e, &typed),
    };
    let ui = Ui::new(args.json);
    match run(args, &ui) {
        Ok(exit) => exit.into(),
        Err(e) => {
            ui.error(&e.body());
            ExitCode::FAILURE
        }
    }
}

/// Help and version are no errors; anything else is wrong usage.
fn not_parsed(e: &clap::Error, typed: &[OsString]) -> ExitCode {
    if e.use_stderr() && typed.iter().any(|arg| arg == "--json") {
        Ui::new(true).error(&error::usage(e));
    } else if e.print().is_err() {
        // Nobody reads the help any more; there is nobody to tell, either.
    }
    if e.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Done.into()
    }
}

fn run(args: Args, ui: &Ui) -> Result<Exit, CliError> {
    let client = Client::new(args.socket);
    match args.command {
        Command::Agent(args) => agent::run(&args, ui),
        Command::Unload(args) => unload::run(&args, ui),
        Command::Lb(command) => wait_for(lb::run(command, &client, ui)),
        Command::Backend(command) => wait_for(backend::run(command, &client, ui)),
        Command::Attributes(command) => wait_for(attributes::run(command, &client, ui)),
        Command::Status(args) => wait_for(status::run(&args, &client, ui)),
        Command::Top(args) => top::run(&args, client, ui),
        Command::Flows(args) => wait_for(flows::run(&args, &client, ui)),
        Command::Events(args) => wait_for(events::run(&args, &client, ui)),
        Command::Apply(args) => wait_for(apply::run(&args, &client, ui)),
        Command::Init(args) => init::run(&args, ui),
        Command::CheckConfig(args) => check_config::run(&args, ui),
        Command::Doctor(args) => wait_for(doctor::run(&args, &client, ui)),
        Command::Decap(args) => wait_for(decap::run(&args, ui)),
        Command::Completions(args) => completions::run(&args, Args::command(), ui),
        Command::Man(args) => man::run(&args, Args::command(), ui),
        Command::Parses(args) => parses::run(&args, &Args::command(), ui),
    }
}

/// Runs a verb that talks to the agent.
fn wait_for(verb: impl Future<Output = Result<Exit, CliError>>) -> Result<Exit, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(CliError::Runtime)?
        .block_on(verb)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_hold_together() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_verb_says_what_it_does() {
        fn check(command: &clap::Command) {
            assert!(
                command.get_about().is_some(),
                "{} has no description",
                command.get_name()
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} of {} has no help",
                    argument.get_id(),
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }
        check(&Args::command());
    }
}
