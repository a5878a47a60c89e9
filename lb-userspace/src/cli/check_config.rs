//! `ebb check-config`: everything that is wrong with a file, before an agent
//! reads it.

use std::path::PathBuf;

use serde::Serialize;

use super::{document, error::CliError, exit::Exit, ui::Ui, words};
use crate::config::{Document, Host, Purpose};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is checked as `ebb agent` checks it: against this host's interfaces,
too. No agent needs to run.")]
pub(super) struct Args {
    /// A configuration file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// For another host: do not look whether this one has the interfaces
    #[arg(long)]
    elsewhere: bool,

    /// For `ebb apply`: load balancers alone will do
    #[arg(long)]
    apply: bool,
}

#[derive(Debug, Serialize)]
struct Checked {
    load_balancers: Vec<String>,
    backends: usize,
}

pub(super) fn run(args: &Args, ui: &Ui) -> Result<Exit, CliError> {
    let text = document::read(&args.file)?;
    let name = document::name(&args.file);
    let purpose = if args.apply {
        Purpose::Apply
    } else {
        Purpose::Agent
    };
    let host = if args.elsewhere {
        None
    } else {
        Some(Host::read().map_err(CliError::Host)?)
    };
    let document = Document::parse(&name, &text, purpose, host.as_ref()).map_err(|faults| {
        CliError::Document {
            name: name.clone(),
            faults,
        }
    })?;
    let checked = Checked {
        load_balancers: document
            .declaration
            .keys()
            .map(ToString::to_string)
            .collect(),
        backends: document
            .declaration
            .values()
            .map(|lb| lb.backends.len())
            .sum(),
    };
    ui.result(&checked, || {
        format!(
            "{name} is good: {}, {}",
            words::counted(checked.load_balancers.len() as u64, "load balancer"),
            words::counted(checked.backends as u64, "backend")
        )
    })?;
    Ok(Exit::Done)
}
