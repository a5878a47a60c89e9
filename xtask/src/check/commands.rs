//! The gate `commands`: every `ebb …` and `cargo xtask …` that a document shows
//! parses.
//!
//! Looked at are the lines of code blocks and the code in sentences, which may
//! also be a verb's name alone: `ebb apply` without its file. A word in capitals
//! (FILE, LB) stands for something, `…` for what is left out, brackets are
//! around what may be left out.
//!
//! Xtask parses its own. `ebb` is asked for the rest by its hidden verb `parses`:
//! xtask depends on none of the crates that it builds.

use std::{
    io::Write as _,
    process::{Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::{
    compiled,
    documents::{Code, Document},
};
use crate::{command, kernel::Objects, workspace};

pub(super) fn check(
    documents: &[Document],
    xtask: &clap::Command,
    objects: Option<&Objects>,
) -> Result<()> {
    let shown: Vec<Shown> = documents.iter().flat_map(in_document).collect();
    ensure!(
        Program::ALL
            .iter()
            .all(|program| shown.iter().any(|shown| shown.program == *program)),
        "no document shows a command: the gate looks at the wrong place"
    );
    let (ours, of_ebb): (Vec<_>, Vec<_>) = shown
        .iter()
        .partition(|shown| shown.program == Program::Xtask);
    let mut complaints = Vec::new();
    for shown in ours {
        complaints.extend(shown.complaint(parsed_by(xtask, &shown.words)));
    }
    let answers = parsed_by_ebb(&of_ebb, objects)?;
    for (shown, refusal) in of_ebb.into_iter().zip(answers) {
        complaints.extend(shown.complaint(refusal));
    }
    if complaints.is_empty() {
        return Ok(());
    }
    bail!("{}", complaints.join("\n"));
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Ebb,
    Xtask,
}

impl Program {
    const ALL: [Self; 2] = [Self::Ebb, Self::Xtask];
}

/// A command that a document shows.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// File and line.
    at: String,
    program: Program,
    /// What comes after the program's name.
    words: Vec<String>,
    /// It need not be whole: it is a name, or has an ellipsis.
    in_part: bool,
}

/// Why a command does not parse.
#[derive(Debug, PartialEq, Eq, serde::Deserialize)]
struct Refusal {
    /// Nothing is wrong with what is there; something is missing.
    missing: bool,
    /// The word that is wrong.
    word: Option<String>,
    message: String,
}

impl Shown {
    fn complaint(&self, refusal: Option<Refusal>) -> Option<String> {
        let refusal = refusal?;
        let borne = (refusal.missing && self.in_part)
            || refusal.word.as_deref().is_some_and(stands_for_something);
        (!borne).then(|| {
            let message = refusal.message.lines().next().unwrap_or_default();
            format!(
                "{}: {:?} {}: {message}",
                self.at,
                self.program,
                self.words.join(" ")
            )
        })
    }
}

/// Whether a word is a placeholder: FILE, LB, LOAD-BALANCER.
fn stands_for_something(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_uppercase())
        && word
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "-_".contains(c))
}

fn in_document(document: &Document) -> Vec<Shown> {
    document
        .code
        .iter()
        .flat_map(|code| in_code(code, &format!("{}:{}", document.file.display(), code.line)))
        .collect()
}

fn in_code(code: &Code, at: &str) -> Vec<Shown> {
    // Prose in a block may have a lone apostrophe: no command, then.
    let words: Vec<String> = shlex::split(&code.text).unwrap_or_default();
    words
        .split(|word| ["|", "||", "&&", ";", "&"].contains(&word.as_str()))
        .filter_map(|words| command_in(words, code, at))
        .collect()
}

fn command_in(words: &[String], code: &Code, at: &str) -> Option<Shown> {
    let is_before = |word: &str| ["$", "#", "sudo"].contains(&word) || is_assignment(word);
    let start = words.iter().position(|word| !is_before(word))?;
    let words: Vec<&str> = words[start..].iter().map(String::as_str).collect();
    let (program, rest) = match words.as_slice() {
        ["cargo", "xtask", rest @ ..] => (Program::Xtask, rest),
        [ebb, rest @ ..] if *ebb == "ebb" || ebb.ends_with("/ebb") => (Program::Ebb, rest),
        _ => return None,
    };
    // A name alone is no command, in a block either.
    if rest.is_empty() {
        return None;
    }
    let end = rest
        .iter()
        .position(|word| [">", ">>", "<", "2>"].iter().any(|to| word.starts_with(to)));
    let rest = &rest[..end.unwrap_or(rest.len())];
    let elided = rest.iter().any(|word| word.contains('…'));
    Some(Shown {
        at: at.to_owned(),
        program,
        words: rest
            .iter()
            .map(|word| {
                let word = word.trim_end_matches(']').trim_end_matches('…');
                word.strip_prefix('[').unwrap_or(word).to_owned()
            })
            .filter(|word| !word.is_empty())
            .collect(),
        in_part: code.in_sentence || elided,
    })
}

/// `NAME=value` before a command.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    })
}

/// Parses it with our own definitions.
fn parsed_by(definitions: &clap::Command, words: &[String]) -> Option<Refusal> {
    let words = ["xtask"]
        .into_iter()
        .chain(words.iter().map(String::as_str));
    let error = definitions.clone().try_get_matches_from(words).err()?;
    if !error.use_stderr() {
        return None;
    }
    let wrong = [ContextKind::InvalidSubcommand, ContextKind::InvalidValue]
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
        word: wrong,
        message: error.to_string(),
    })
}

/// Asks `ebb`: a line of JSON for each, its words, and a line of JSON back.
fn parsed_by_ebb(shown: &[&Shown], objects: Option<&Objects>) -> Result<Vec<Option<Refusal>>> {
    let mut build = compiled::cargo("build", objects)?;
    build.args(["--quiet", "--package", "lb-userspace", "--bin", "ebb"]);
    command::run(&mut build)?;
    let mut questions = Vec::new();
    for shown in shown {
        serde_json::to_writer(&mut questions, &shown.words)?;
        questions.push(b'\n');
    }
    let mut ebb = Command::new(workspace::target_dir().join("debug/ebb"))
        .arg("parses")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start ebb")?;
    let mut stdin = ebb.stdin.take().context("ebb has no standard input")?;
    let writer = thread::spawn(move || stdin.write_all(&questions));
    let out = ebb.wait_with_output().context("cannot read from ebb")?;
    let written = writer
        .join()
        .map_err(|_| anyhow::anyhow!("the writer died"))?;
    ensure!(out.status.success(), "ebb parses: {}", out.status);
    written.context("cannot write to ebb")?;
    let answers = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<_>, _>>()
        .context("ebb parses: no JSON")?;
    ensure!(
        answers.len() == shown.len(),
        "ebb parses: an answer is missing"
    );
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use clap::CommandFactory as _;

    use super::*;

    fn shown(text: &str) -> Vec<String> {
        let document = Document::read(Path::new("d.md"), text);
        in_document(&document)
            .into_iter()
            .map(|shown| format!("{:?} {}", shown.program, shown.words.join(" ")))
            .collect()
    }

    #[test]
    fn commands_are_found_in_blocks_and_in_sentences() {
        assert_eq!(
            shown(
                "    ebb status    # everything\n    sudo ebb top\n    ls | ebb apply - && cargo xtask build\n"
            ),
            ["Ebb status", "Ebb top", "Ebb apply -", "Xtask build"]
        );
        assert_eq!(
            shown("Say `ebb init` and `EBB_SOCKET=/x ebb flows web > f`."),
            ["Ebb init", "Ebb flows web"]
        );
        assert_eq!(
            shown("    $ /usr/bin/ebb completions bash > x\n"),
            ["Ebb completions bash"]
        );
    }

    #[test]
    fn what_is_no_command_is_left_alone() {
        assert!(shown("`ebb`, `ebbing`, `cargo build`, ebb status\n\n    it's ebb's\n").is_empty());
    }

    #[test]
    fn what_is_left_out_may_be_missing() {
        let whole = &in_document(&Document::read(Path::new("d.md"), "    ebb lb\n"))[0];
        assert!(!whole.in_part);
        for text in ["    ebb lb …\n", "The verb `ebb lb` does."] {
            let shown = &in_document(&Document::read(Path::new("d.md"), text))[0];
            assert!(shown.in_part, "{text}");
            assert_eq!(shown.words, ["lb"]);
        }
    }

    fn complaint(text: &str) -> Option<String> {
        let shown = &in_document(&Document::read(Path::new("d.md"), text))[0];
        shown.complaint(parsed_by(&crate::Cli::command(), &shown.words))
    }

    #[test]
    fn a_command_that_does_not_parse_is_found() {
        for wrong in [
            "    cargo xtask chekc\n",
            "    cargo xtask test --onyl net\n",
            "    cargo xtask test --only nat\n",
            "    cargo xtask build-and-load --interface eth0\n",
            "Run `cargo xtask tset`.",
        ] {
            let complaint = complaint(wrong).unwrap_or_default();
            assert!(
                complaint.starts_with("d.md:1: Xtask "),
                "{wrong}: {complaint}"
            );
        }
    }

    #[test]
    fn a_command_that_parses_is_not() {
        for right in [
            "    cargo xtask test --only net --filter p4\n",
            "    cargo xtask test --only SUITE\n",
            "    cargo xtask bench -- --rounds 31\n",
            "    cargo xtask help VERB\n",
            "    cargo xtask build-and-load --interface IF… --config FILE\n",
            "    cargo xtask build-and-load …\n",
            "`cargo xtask build-and-load`",
            "`cargo xtask test [--only SUITE] [--filter TEXT]`",
        ] {
            assert_eq!(complaint(right), None, "{right}");
        }
    }
}
