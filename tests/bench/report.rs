//! The rows, as a table for people and as JSON for programs.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// The median, net of what stands before the program and of the empty
    /// program.
    pub(crate) ns: f64,
    /// The median of the rounds' ratios to the baseline.
    pub(crate) ratio: f64,
    /// The distance of the ratio's quartiles, as a share of it.
    pub(crate) spread: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) katran: Option<f64>,
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| path | net ns | ratio | spread | at most | Katran |\n\
         |---|---:|---:|---:|---:|---:|\n",
    );
    let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| n.to_string());
    for row in rows {
        let _ = writeln!(
            text,
            "| {} | {:.1} | {:.2} | {:.0} % | {} | {} |",
            row.name,
            row.ns,
            row.ratio,
            row.spread * 100.0,
            number(row.target),
            number(row.katran),
        );
    }
    text
}

pub(crate) fn write_json(rows: &[Row], file: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))
}
