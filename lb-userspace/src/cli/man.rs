//! `ebb man`: the man pages, for who packages ebb.

use std::{fs, path::PathBuf};

use super::{error::CliError, exit::Exit, ui::Ui};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The directory to write to; it is created if necessary
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(super) fn run(args: &Args, command: clap::Command, ui: &Ui) -> Result<Exit, CliError> {
    let failed = |source| CliError::Write {
        path: args.dir.clone(),
        source,
    };
    fs::create_dir_all(&args.dir).map_err(failed)?;
    clap_mangen::generate_to(command, &args.dir).map_err(failed)?;
    ui.note(&format!("man pages are in {}", args.dir.display()));
    Ok(Exit::Done)
}
