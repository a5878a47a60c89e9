//! `ebb parses`, hidden: whether commands parse, and if not, why. The project's
//! own checks ask it for every command that a document shows.

use std::io::{self, BufRead as _};

use clap::{
    Command,
    error::{ContextKind, ContextValue, Error, ErrorKind},
};
use serde::Serialize;

use super::{error::CliError, exit::Exit, ui::Ui};

/// Takes the words of a command per line, as a JSON array without the program's
/// name; prints a line for each: `null`, or what is wrong.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

#[derive(Debug, Serialize)]
struct Refusal {
    /// Nothing is wrong with what is there; something is missing.
    missing: bool,
    /// The word that is wrong.
    word: Option<String>,
    message: String,
}

pub(super) fn run(_: &Args, command: &Command, ui: &Ui) -> Result<Exit, CliError> {
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|source| CliError::Read {
            path: "-".into(),
            source,
        })?;
        let words: Vec<String> = serde_json::from_str(&line)?;
        let typed = ["ebb"].into_iter().chain(words.iter().map(String::as_str));
        let refusal = command
            .clone()
            .try_get_matches_from(typed)
            .err()
            .and_then(|e| refusal(&e));
        ui.raw(&serde_json::to_string(&refusal)?)?;
    }
    Ok(Exit::Done)
}

/// Help and version are no refusals.
fn refusal(error: &Error) -> Option<Refusal> {
    if !error.use_stderr() {
        return None;
    }
    let word = [ContextKind::InvalidSubcommand, ContextKind::InvalidValue]
        .into_iter()
        .find_map(|kind| match error.get(kind) {
            Some(ContextValue::String(word)) if !word.is_empty() => Some(word.clone()),
            _ => None,
        });
    Some(Refusal {
        missing: matches!(
            error.kind(),
            ErrorKind::MissingRequiredArgument
                | ErrorKind::MissingSubcommand
                | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        ),
        word,
        message: error.to_string(),
    })
}
