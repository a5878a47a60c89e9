//! The rows, as a table for people and as JSON for programs.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::measure::Size;

/// One thing that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    name: &'static str,
    unit: Unit,
    /// The median.
    value: f64,
    /// The slowest of twenty is no faster than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    p95: Option<f64>,
    rounds: usize,
    /// The value is to be no more than this.
    #[serde(skip_serializing_if = "Option::is_none")]
    goal: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Unit {
    Seconds,
    Bytes,
    /// The share of one.
    Core,
}

impl Row {
    /// What was done several times.
    pub(crate) fn of(name: &'static str, unit: Unit, values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted[(sorted.len() * share / 100).min(sorted.len() - 1)];
        Self {
            name,
            unit,
            value: at(50),
            p95: Some(at(95)),
            rounds: values.len(),
            goal: None,
        }
    }

    pub(crate) fn once(name: &'static str, unit: Unit, value: f64) -> Self {
        Self {
            name,
            unit,
            value,
            p95: None,
            rounds: 1,
            goal: None,
        }
    }

    pub(crate) fn at_most(self, goal: f64) -> Self {
        Self {
            goal: Some(goal),
            ..self
        }
    }

    pub(crate) fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }
}

impl Unit {
    fn write(self, value: f64) -> String {
        match self {
            Self::Seconds if value < 1.0 => format!("{:.1} ms", value * 1e3),
            Self::Seconds => format!("{value:.2} s"),
            Self::Bytes => format!("{:.1} MiB", value / 1024.0 / 1024.0),
            Self::Core => format!("{:.1} % of a core", value * 100.0),
        }
    }
}

/// A Markdown table, as in docs/performance.md.
pub(crate) fn table(size: &Size, rows: &[Row]) -> String {
    let mut text = format!(
        "{} load balancers with {} backends each:\n\n\
         | | median | 95 % within | rounds | goal |\n\
         |---|---:|---:|---:|---:|\n",
        size.load_balancers, size.backends
    );
    for row in rows {
        let write = |value: Option<f64>, sign: &str| {
            value.map_or_else(
                || "–".to_owned(),
                |value| format!("{sign}{}", row.unit.write(value)),
            )
        };
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            row.name,
            row.unit.write(row.value),
            write(row.p95, ""),
            row.rounds,
            write(row.goal, "≤ "),
        );
    }
    text
}

pub(crate) fn write_json(rows: &[Row], file: &Path) -> Result<()> {
    let json = serde_json::to_string_pretty(rows)?;
    fs::write(file, json + "\n").with_context(|| format!("cannot write {}", file.display()))
}
