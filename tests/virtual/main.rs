//! What a balancer costs where devices are virtual, against other ways through the same
//! host: `cargo xtask bench --virtual`.
//!
//! A client, a balancer and a server in namespaces, joined by virtual pairs. What is
//! measured is the CPU time of the whole machine, so nothing else should be at work. The
//! ways take turns, round after round.
//!
//! - [`way`]: how packets come through the balancer's host;
//! - [`measure`]: what a client asks for, and what that costs.

mod measure;
mod way;

use std::{fmt::Write as _, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use clap::Parser;
use serde::Serialize;

use self::{
    measure::{Measured, TASKS},
    way::Way,
};

/// Measures what a balancer costs between virtual devices.
#[derive(Parser)]
#[command(bin_name = "cargo xtask bench --virtual --")]
struct Arguments {
    /// Write the rows to this file as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Three rounds: enough to see what is far off.
    #[arg(long)]
    quick: bool,
    /// How many rounds.
    #[arg(long, value_name = "N", default_value_t = 11)]
    rounds: usize,
    /// Cargo says so when it benches, and not when it tests.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one way costs.
#[derive(Debug, Serialize)]
struct Row {
    way: &'static str,
    /// Of each task: the median and the quartiles, in the task's unit.
    costs: Vec<[f64; 3]>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("run `cargo xtask bench --virtual`: it builds what is measured, and needs root");
        return Ok(());
    }
    let rounds = if arguments.quick { 3 } else { arguments.rounds };
    let rows = measured(rounds)?;
    print!("{}", table(&rows));
    if let Some(file) = &arguments.json {
        let json = serde_json::to_string_pretty(&rows)?;
        fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

fn measured(rounds: usize) -> Result<Vec<Row>> {
    let sites = Way::ALL
        .iter()
        .map(|way| way.site())
        .collect::<Result<Vec<_>>>()?;
    let paths = Way::ALL
        .iter()
        .zip(&sites)
        .map(|(way, site)| way.open(site))
        .collect::<Result<Vec<_>>>()?;
    let mut taken: Vec<Vec<Measured>> = paths.iter().map(|_| Vec::new()).collect();
    // The first round warms up.
    for round in 0..=rounds {
        for (path, taken) in paths.iter().zip(&mut taken) {
            let measured = measure::all(path.site(), path.server())?;
            if round > 0 {
                taken.push(measured);
            }
        }
    }
    Ok(Way::ALL
        .iter()
        .zip(taken)
        .map(|(way, taken)| Row {
            way: way.name(),
            costs: (0..TASKS.len())
                .map(|task| quartiles(taken.iter().map(|costs| costs[task]).collect()))
                .collect(),
        })
        .collect())
}

/// The median, and the values below and above it.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [2, 1, 3].map(|quarter| values[(values.len() - 1) * quarter / 4])
}

/// As in docs/performance.md.
fn table(rows: &[Row]) -> String {
    let mut text = String::from("| way |");
    for task in TASKS {
        let _ = write!(text, " {} |", task.unit);
    }
    text += "\n|---|";
    text += &"---:|".repeat(TASKS.len());
    text += "\n";
    for row in rows {
        let _ = write!(text, "| {} |", row.way);
        for [median, low, high] in &row.costs {
            let _ = write!(text, " {median:.2} ({low:.2}–{high:.2}) |");
        }
        text += "\n";
    }
    text
}
