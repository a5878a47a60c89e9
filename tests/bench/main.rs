//! What a packet costs, measured: `cargo xtask bench`.
//!
//! - [`balancer`]: ebb's program with its maps filled.
//! - [`yardstick`]: the floors, and the look-up alone.
//! - [`forerunner`]: a balancer of the first generation.
//! - [`front`]: what makes a packet new before each run.
//! - [`path`]: the paths that are measured, and the proof that they are it.
//! - [`rounds`]: the measuring itself, and [`machine`] where.
//! - [`live`]: packets per second through a virtual Ethernet.
//! - [`memory`]: bytes per flow.
//! - [`frame`], [`stats`], [`report`]: packets, medians, tables.

mod balancer;
mod forerunner;
mod frame;
mod front;
mod live;
mod machine;
mod memory;
mod path;
mod report;
mod rounds;
mod stats;
mod yardstick;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;
use machine::CpuTime;
use rustix::thread::{CpuSet, sched_setaffinity};

/// Measures what a packet costs on its way through ebb.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench --")]
struct Arguments {
    /// Write the rows to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Few rounds: enough to see what is far off.
    #[arg(long)]
    quick: bool,
    /// How many rounds at most: it ends when all figures are steady to 3 %.
    #[arg(long, value_name = "N", default_value_t = 400)]
    rounds: usize,
    /// Only the paths whose name contains this.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// The CPU to measure on.
    #[arg(long, value_name = "N", default_value_t = 0)]
    cpu: usize,
    /// Cargo says so when it benches, and not when it tests.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Rounds of a quick run.
const QUICK: usize = 8;
/// Rounds of frames through a virtual Ethernet, each of which is long.
const LIVE: usize = 15;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("run `cargo xtask bench`: it builds what is measured, and needs root");
        return Ok(());
    }
    let mut cpus = CpuSet::new();
    cpus.set(arguments.cpu);
    sched_setaffinity(None, &cpus)
        .with_context(|| format!("cannot run on CPU {}", arguments.cpu))?;
    let rounds = if arguments.quick {
        arguments.rounds.min(QUICK)
    } else {
        arguments.rounds
    };
    let begun = CpuTime::now(arguments.cpu)?;
    let only = arguments.only.as_deref().unwrap_or_default();
    let found = rounds::measure(rounds, only)?;
    let mut rows = found.rows;
    if "veth-live-dsr".contains(only) {
        rows.extend(live::measure(rounds.min(LIVE))?);
    }
    println!("{}", machine::describe(arguments.cpu, begun)?);
    println!("After {} rounds:\n\n{}", found.rounds, report::table(&rows));
    if let Some(file) = &arguments.json {
        report::write_json(&rows, file)?;
    }
    Ok(())
}
