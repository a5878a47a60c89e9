//! The configuration: the file as written → settings as validated.

mod invalid;
mod values;

pub use invalid::{DRAIN_TIMEOUT, ID_MAX, IDLE_TIMEOUT, Invalid, NAME_MAX, WEIGHT};
pub use values::{BackendId, DrainTimeout, IdleTimeout, LbName, Weight};

/// One thing that is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name, or what stands for it.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    pub column: usize,
    pub message: String,
    pub hint: Option<String>,
}

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
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
