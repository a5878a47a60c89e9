//! The rows, as a table for people and as JSON for programs.

use std::{
    fmt::{self, Write as _},
    fs,
    path::Path,
};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    #[serde(flatten)]
    pub(crate) measure: Measure,
    /// The median of the rounds' ratios to the baseline.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// The distance of the ratio's quartiles, as a share of it.
    pub(crate) spread: f64,
    /// At most this ratio; of packets per second at least.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) katran: Option<f64>,
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

/// A Markdown table, as in docs/performance.md.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| path | net | ratio | spread | target | Katran |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| n.to_string());
    for row in rows {
        let ratio = row
            .ratio
            .map_or_else(|| "–".to_owned(), |n| format!("{n:.2}"));
        let target = match (row.measure, row.target) {
            (Measure::PacketsPerSecond(_), Some(target)) => format!("≥ {target}"),
            (_, target) => number(target),
        };
        let _ = writeln!(
            text,
            "| {} | {} | {ratio} | {:.0} % | {target} | {} |",
            row.name,
            row.measure,
            row.spread * 100.0,
            number(row.katran),
        );
    }
    text
}

pub(crate) fn write_json(rows: &[Row], file: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))
}
