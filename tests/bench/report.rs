//! The rows, as a table for people and as JSON for programs.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One thing that was measured.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) measure: Measure,
    /// Which share of the rate without ebb.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) share: Option<f64>,
    /// How many times the look-up of one flow, or of a million in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over_look_up: Option<f64>,
    /// How many times the balancer of the first generation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) over_forerunner: Option<f64>,
    /// The distance of the quartiles, as a share of the figure.
    pub(crate) spread: f64,
    /// Whether both halves of the rounds tell the same.
    pub(crate) steady: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) goal: Option<Goal>,
}

/// What is to be reached.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Goal {
    /// At most so many times the balancer of the first generation.
    OfForerunner(f64),
    /// Packets per second: at least this share.
    Share(f64),
}

/// A value with its unit.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Measure {
    /// Nanoseconds per packet, net of what stands before the program and of the
    /// empty program.
    Ns(f64),
    PacketsPerSecond(f64),
    Bytes(f64),
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ns(n) => write!(f, "{n:.1} ns"),
            Self::PacketsPerSecond(n) => write!(f, "{:.2} M/s", n / 1e6),
            Self::Bytes(n) => write!(f, "{n:.0} bytes"),
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfForerunner(most) => write!(f, "≤ {most}"),
            Self::Share(least) => write!(f, "≥ {least}"),
        }
    }
}

/// A Markdown table, as in docs/performance.md, and what is not to be trusted in it.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| path | figure | × look-up | × first generation | spread | goal |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.2}"));
    for row in rows {
        let goal = row
            .goal
            .map_or_else(|| "–".to_owned(), |goal| goal.to_string());
        let share = row
            .share
            .map_or_else(String::new, |share| format!(", {share:.2} of it"));
        let _ = writeln!(
            text,
            "| {} | {}{share} | {} | {} | {:.0} % | {goal} |",
            row.name,
            row.measure,
            number(row.over_look_up),
            number(row.over_forerunner),
            row.spread * 100.0,
        );
    }
    let unsteady: Vec<_> = rows
        .iter()
        .filter(|row| !row.steady)
        .map(|row| row.name)
        .collect();
    if !unsteady.is_empty() {
        let _ = writeln!(
            text,
            "\nNot steady to 3 %, so not to be relied on: {}.",
            unsteady.join(", ")
        );
    }
    text
}

pub(crate) fn write_json(rows: &[Row], file: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))
}
