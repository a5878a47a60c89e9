//! Where words go: results to stdout, notes and errors to stderr, colours only
//! where somebody sees them.

use std::io::{self, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::error::CliError;
use crate::wire::{Error, ErrorBody};

pub(super) const GOOD: Style = AnsiColor::Green.on_default();
pub(super) const CAUTION: Style = AnsiColor::Yellow.on_default();
pub(super) const BAD: Style = AnsiColor::Red.on_default();
pub(super) const STRONG: Style = Style::new().bold();
pub(super) const FAINT: Style = Style::new().dimmed();

/// The terminal, or the pipe.
#[derive(Debug)]
pub(super) struct Ui {
    json: bool,
}

impl Ui {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// A person watches stderr: a progress bar makes sense.
    pub(super) fn watched(&self) -> bool {
        !self.json && io::stderr().is_terminal()
    }

    /// Prints the result: `value` for programs, `text` for people.
    pub(super) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), CliError> {
        let text = if self.json {
            serde_json::to_string_pretty(value)?
        } else {
            text()
        };
        self.raw(&text)
    }

    /// Prints one of many results: a line of JSON, or `text`. False when nobody
    /// reads them any more.
    pub(super) fn line<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<bool, CliError> {
        let text = if self.json {
            serde_json::to_string(value)?
        } else {
            text()
        };
        print(&text)
    }

    /// Prints text as it is, with a line end if it has none.
    pub(super) fn raw(&self, text: &str) -> Result<(), CliError> {
        // `ebb … | head` has what it wants.
        print(text).map(|_read| ())
    }

    /// Tells a person something that is not the result.
    pub(super) fn note(&self, text: &str) {
        if !self.json {
            let mut err = anstream::stderr().lock();
            // A note that nobody can read is no reason to fail.
            let _unread = writeln!(err, "{text}");
        }
    }

    /// Asks a person; silence is a no.
    pub(super) fn agreed(&self, question: &str) -> bool {
        let mut err = anstream::stderr().lock();
        let _unread = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
        let mut answer = String::new();
        let read = io::stdin().read_line(&mut answer);
        read.is_ok() && matches!(answer.trim(), "y" | "Y" | "yes")
    }

    pub(super) fn error(&self, body: &ErrorBody) {
        let text = if self.json {
            let error = Error {
                error: body.clone(),
            };
            serde_json::to_string(&error).unwrap_or_else(|_| body.message.clone())
        } else {
            let mut text = format!("{BAD}{STRONG}error:{STRONG:#}{BAD:#} {}", body.message);
            if let Some(hint) = &body.hint {
                text.push_str(&format!("\n {STRONG}hint:{STRONG:#} {hint}"));
            }
            text
        };
        let _unread = writeln!(anstream::stderr().lock(), "{text}");
    }
}

/// Prints text, with a line end if it has none. False when nobody reads it.
fn print(text: &str) -> Result<bool, CliError> {
    let mut out = anstream::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') {
        ""
    } else {
        "\n"
    };
    match write!(out, "{text}{end}").and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(e) => Err(CliError::Print(e)),
    }
}
