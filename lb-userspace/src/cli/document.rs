//! Reads a configuration file, or standard input where it is `-`.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

use super::error::CliError;
use crate::config::LONGEST_DOCUMENT;

/// What the file is called in errors.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new("-") {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    }
}

pub(super) fn read(path: &Path) -> Result<String, CliError> {
    let failed = |source| CliError::Read {
        path: path.to_owned(),
        source,
    };
    let from: Box<dyn Read> = if path == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(failed)?)
    };
    let mut text = String::new();
    from.take(LONGEST_DOCUMENT as u64 + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if text.len() > LONGEST_DOCUMENT {
        return Err(CliError::TooLong {
            path: path.to_owned(),
            limit: LONGEST_DOCUMENT,
        });
    }
    Ok(text)
}
