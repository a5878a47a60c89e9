//! What is wrong with a document, and on which line.

use std::{fmt, ops::Range};

use crate::model::Invalid;

/// One thing that is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name, or what stands for it.
    pub file: String,
    /// Both counted from 1.
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            line,
            column,
            message,
            hint,
        } = self;
        write!(f, "{file}:{line}:{column}: {message}")?;
        if let Some(hint) = hint {
            write!(f, " ({hint})")?;
        }
        Ok(())
    }
}

/// Where in the text something is written, in bytes.
pub(super) type Span = Range<usize>;

/// A value and where it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A document's text, and what was found wrong with it so far.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    found: Vec<Diagnostic>,
}

/// Enough to mend a file by; a hostile one could have a million.
const MOST: usize = 50;

impl<'a> Findings<'a> {
    #[must_use]
    pub(super) fn new(file: &'a str, text: &'a str) -> Self {
        Self {
            file,
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, span: &Span, message: impl Into<String>, hint: Option<String>) {
        if self.found.len() < MOST {
            let (line, column) = self.position(span);
            self.found.push(Diagnostic {
                file: self.file.to_owned(),
                line,
                column,
                message: message.into(),
                hint,
            });
        }
    }

    /// The value, or a finding and nothing.
    pub(super) fn keep<T>(&mut self, span: &Span, result: Result<T, Invalid>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(invalid) => {
                self.add(span, invalid.to_string(), invalid.hint());
                None
            }
        }
    }

    /// Line and column of where the span begins, both counted from 1.
    #[must_use]
    pub(super) fn position(&self, span: &Span) -> (usize, usize) {
        let before = self.text.get(..span.start).unwrap_or(self.text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or("").chars().count() + 1;
        (line, column)
    }

    /// Everything that was found, in the order of the lines.
    ///
    /// # Errors
    /// When anything was.
    pub(super) fn into_result(mut self) -> Result<(), Vec<Diagnostic>> {
        if self.found.is_empty() {
            return Ok(());
        }
        self.found
            .sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        Err(self.found)
    }
}
