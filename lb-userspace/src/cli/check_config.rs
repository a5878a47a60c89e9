//! `ebb check-config`: everything that is wrong with a file, before an agent
//! reads it.

use std::path::PathBuf;

use serde::Serialize;

use super::{document, error::CliError, exit::Exit, ui::Ui, words};
use crate::config::{Document, Host, Purpose};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The file is checked as `ebb agent` would check it, this host's interfaces included. No
agent needs to be running.")]
pub(super) struct Args {
    /// A configuration file, or - for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The file is for another host: do not look for its interfaces on this one
    #[arg(long)]
    elsewhere: bool,

    /// The file is for `ebb apply`, which needs only load balancers
    #[arg(long)]
    apply: bool,
}

#[derive(Debug, Serialize)]
struct Checked {
    load_balancers: Vec<String>,
    backends: usize,
    /// What is allowed, and may not be wanted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
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
        warnings: document
            .declaration
            .iter()
            .filter_map(|(lb, spec)| {
                let check = spec.health_check.as_ref()?;
                let warning = check.warning(spec.backends.len())?;
                Some(format!("{lb}: {warning}"))
            })
            .collect(),
    };
    for warning in &checked.warnings {
        ui.note(&format!("warning: {warning}"));
    }
    ui.result(&checked, || {
        format!(
            "{name} is valid: {}, {}",
            words::counted(checked.load_balancers.len() as u64, "load balancer"),
            words::counted(checked.backends as u64, "backend")
        )
    })?;
    Ok(Exit::Done)
}
