//! `cargo xtask`: everything that is done to ebb's source, one module per verb.

mod bench;
mod build;
mod check;
mod clean_lab;
mod command;
mod demo;
mod elsewhere;
mod fuzz;
mod guest;
mod hosts;
mod kernel;
mod load;
mod package;
mod setup;
mod test;
mod workspace;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

/// Builds, tests and shows ebb.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what is missing for the other verbs; quick when nothing is.
    Setup,
    /// Judge the source: format, lints, layers, documents, dependencies.
    Check(check::Args),
    /// Build the kernel program, then `ebb` with it inside (release).
    Build(build::Args),
    /// Build, then run the agent on this host, in the foreground.
    BuildAndLoad(load::Args),
    /// Check, then run every test: unit, property, packet and network.
    Test(test::Args),
    /// Send what parses strangers' bytes whatever finds a fault in it.
    Fuzz(fuzz::Args),
    /// Measure what a packet costs, in every mode, against a baseline.
    Bench(bench::Args),
    /// Build a Debian package: agent, man pages, completions, systemd unit.
    Package,
    /// Pack the same for hosts that are not Debian's: a program that needs no library.
    Tarball,
    /// Pack that program alone as a container image.
    Image,
    /// Show a drain that nobody notices: a client, the balancer, three nginx servers.
    Demo(demo::Args),
    /// Remove the namespaces, processes and pins that a killed run left.
    CleanLab,
    /// Be the first process of the guest that `test --kernel` boots.
    #[command(hide = true, name = guest::init::VERB)]
    GuestInit,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup => setup::run(),
        Verb::Check(args) => check::run(&args, Cli::command()),
        Verb::Build(args) => build::run(&args),
        Verb::BuildAndLoad(args) => load::run(&args),
        Verb::Test(args) => test::run(&args, Cli::command()),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Package => package::run(),
        Verb::Tarball => elsewhere::tarball::run(),
        Verb::Image => elsewhere::image::run(),
        Verb::Demo(args) => demo::run(&args),
        Verb::CleanLab => clean_lab::run(),
        Verb::GuestInit => guest::init::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
