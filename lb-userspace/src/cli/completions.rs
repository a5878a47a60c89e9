//! `ebb completions`: a completion script for a shell.

use std::io;

use clap_complete::Shell;

use super::{error::CliError, exit::Exit, ui::Ui};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  ebb completions bash > /etc/bash_completion.d/ebb")]
pub(super) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(args: &Args, mut command: clap::Command, ui: &Ui) -> Result<Exit, CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "ebb", &mut script);
    let script = String::from_utf8(script)
        .map_err(|e| CliError::Print(io::Error::new(io::ErrorKind::InvalidData, e)))?;
    ui.raw(&script)?;
    Ok(Exit::Done)
}
