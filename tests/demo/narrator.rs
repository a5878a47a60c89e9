//! The narrator: lines with the time since the story began, and at the end
//! what was promised beside what was seen.

use std::{fmt::Display, time::Instant};

pub(crate) struct Narrator {
    start: Instant,
    checks: Vec<Check>,
}

struct Check {
    promise: &'static str,
    seen: String,
    kept: bool,
}

impl Narrator {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            checks: Vec::new(),
        }
    }

    /// What comes next.
    pub(crate) fn scene(&self, title: impl Display) {
        println!("\n{title}");
    }

    /// Something that has just happened.
    pub(crate) fn say(&self, what: impl Display) {
        println!("{:6.1} s  {what}", self.start.elapsed().as_secs_f32());
    }

    /// Notes what came of a promise, for the end.
    pub(crate) fn check(&mut self, promise: &'static str, kept: bool, seen: impl Into<String>) {
        self.checks.push(Check {
            promise,
            seen: seen.into(),
            kept,
        });
    }

    /// The closing summary; whether everything was kept.
    pub(crate) fn close(&self) -> bool {
        self.scene("Summary");
        let width = self
            .checks
            .iter()
            .map(|check| check.promise.len())
            .max()
            .unwrap_or(0);
        for check in &self.checks {
            let verdict = if check.kept { "ok  " } else { "FAIL" };
            println!("  {verdict}  {:width$}  {}", check.promise, check.seen);
        }
        self.checks.iter().all(|check| check.kept)
    }
}
