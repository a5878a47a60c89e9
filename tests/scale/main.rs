//! What many load balancers cost, measured on the real agent:
//! `cargo xtask bench --scale`.
//!
//! - [`host`]: a host of the bench's own, and the agent on it;
//! - [`measure`]: what is done and how long it takes;
//! - [`report`]: the table for people, and JSON for programs.

mod host;
mod measure;
mod report;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

use self::{host::Neighbours, measure::Size};

/// Measures an agent with many load balancers.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench --scale --")]
struct Arguments {
    /// Write the rows to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A tenth of the load balancers and of the rounds.
    #[arg(long)]
    quick: bool,
    /// How many load balancers.
    #[arg(long, value_name = "N", default_value_t = 1000)]
    load_balancers: u16,
    /// How many backends each of them has.
    #[arg(long, value_name = "N", default_value_t = 20)]
    backends: u16,
    /// How many times each command is given.
    #[arg(long, value_name = "N", default_value_t = 51)]
    rounds: usize,
    /// Cargo says so when it benches, and not when it tests.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("run `cargo xtask bench --scale`: it builds what is measured, and needs root");
        return Ok(());
    }
    let share = if arguments.quick { 10 } else { 1 };
    let size = Size {
        load_balancers: (arguments.load_balancers / share).max(1),
        backends: arguments.backends,
        rounds: (arguments.rounds / usize::from(share)).max(3),
    };
    // What follows is started in here, and sees no other network.
    host::leave_the_hosts_network()?;
    let mut rows = measure::with(Neighbours::Known, size)?;
    rows.extend(measure::idle_with(Neighbours::Silent, size)?);
    print!("{}", report::table(&size, &rows));
    if let Some(file) = &arguments.json {
        report::write_json(&rows, file)?;
    }
    Ok(())
}
