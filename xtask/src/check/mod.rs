//! `cargo xtask check`: what a reviewer would otherwise have to say.
//!
//! One module per gate. All of them run, and then all that is red is shown
//! together, each with what to do about it. The quick ones come first.
//!
//! - [`layers`]: nothing imports a folder above it, no two modules each other.
//! - [`modes`]: no wildcard arm on the forwarding mode.
//! - [`links`]: what a document links to is there.
//! - [`oldest_rust`]: the minimum Rust that Cargo.toml names.
//! - [`dependencies`]: licences, bans and sources, judged by cargo-deny.
//! - [`compiled`]: rustfmt, clippy (on the host, and for the kernel), rustdoc.
//! - [`commands`]: a command that a document shows parses.
//!
//! [`source`] and [`documents`] read what the gates judge.

mod commands;
mod compiled;
mod dependencies;
mod documents;
mod layers;
mod links;
mod modes;
mod oldest_rust;
mod source;

use std::cell::OnceCell;

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use self::documents::Document;
use crate::{
    command::{self, step},
    kernel::{self, Objects},
    setup::{self, Toolchain},
    workspace,
};

#[derive(Default, clap::Args)]
pub(crate) struct Args {
    /// Run only this gate; may be given more than once.
    #[arg(long, value_name = "GATE")]
    only: Vec<Gate>,
}

/// A gate: red or green.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Gate {
    /// The source is formatted as rustfmt does it.
    Format,
    /// Nothing imports a folder above it, and no two modules import each other.
    Layers,
    /// A match on the forwarding mode names every mode.
    Modes,
    /// What a document links to is there.
    Links,
    /// The minimum Rust is one, and enough for every dependency.
    OldestRust,
    /// Licences, bans and sources of dependencies.
    Dependencies,
    /// Clippy, for the kernel program as the kernel gets it.
    Kernel,
    /// Clippy, for every crate, target and feature.
    Lint,
    /// Rustdoc: no broken links.
    Docs,
    /// A command that a document shows parses.
    Commands,
}

/// What gates share, made when the first of them asks.
struct Site {
    /// How xtask's own commands parse.
    xtask: clap::Command,
    /// What cargo says of the workspace, dependencies included.
    metadata: serde_json::Value,
    documents: Vec<Document>,
    toolchain: OnceCell<Toolchain>,
    objects: OnceCell<Option<Objects>>,
}

/// Runs the gates; `xtask` is our own command line.
pub(crate) fn run(args: &Args, xtask: clap::Command) -> Result<()> {
    let site = Site::look(xtask)?;
    let mut red = Vec::new();
    for &gate in Gate::value_variants() {
        if (args.only.is_empty() || args.only.contains(&gate))
            && let Err(error) = step(&gate.title(), || gate.run(&site))
        {
            red.push(format!(
                "{}\n{}\n  what to do: {}",
                gate.title(),
                indented(&format!("{error:#}")),
                gate.what_to_do()
            ));
        }
    }
    match red.len() {
        0 => Ok(()),
        1 => bail!("a gate is red\n\n{}", red[0]),
        several => bail!("{several} gates are red\n\n{}", red.join("\n\n")),
    }
}

fn indented(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(|line| format!("  {line}")).collect();
    lines.join("\n")
}

impl Gate {
    /// Its name as `--only` takes it, and what it holds.
    fn title(self) -> String {
        let value = self.to_possible_value();
        let name = value.as_ref().map_or("", |value| value.get_name());
        let help = value.as_ref().and_then(|value| value.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        format!("{name}: {}", help.trim_end_matches('.'))
    }

    fn run(self, site: &Site) -> Result<()> {
        match self {
            Self::Format => compiled::format(),
            Self::Layers => layers::check(&source::watched(workspace::root(), &site.metadata)?),
            Self::Modes => modes::check(&source::watched(workspace::root(), &site.metadata)?),
            Self::Links => links::check(&site.documents),
            Self::OldestRust => oldest_rust::check(&site.metadata),
            Self::Dependencies => dependencies::check(),
            Self::Kernel => compiled::kernel(site.toolchain()?),
            Self::Lint => compiled::lint(site.objects()?),
            Self::Docs => compiled::docs(site.objects()?),
            Self::Commands => commands::check(&site.documents, &site.xtask, site.objects()?),
        }
    }

    fn what_to_do(self) -> &'static str {
        match self {
            Self::Format => "cargo fmt --all",
            Self::Layers => {
                "move what both need below both, or turn the import round; \
                 xtask/src/check/layers/mod.rs has the rules"
            }
            Self::Modes => "name the modes that the arm is for; `A | B` where two are alike",
            Self::Links => "mend the link, or the heading that it leads to",
            Self::OldestRust => "xtask/src/check/oldest_rust.rs says what must agree",
            Self::Dependencies => {
                "do without, or write the exception and its reason into deny.toml"
            }
            Self::Kernel | Self::Lint => {
                "mend it; where clippy is wrong, #[expect(lint, reason = \"…\")]"
            }
            Self::Docs => "mend the link; rustdoc names file and line above",
            Self::Commands => {
                "show the command as it is typed; words in capitals stand for something, \
                 and … for what is left out"
            }
        }
    }
}

impl Site {
    fn look(xtask: clap::Command) -> Result<Self> {
        let mut metadata = command::cargo();
        let metadata = command::output(metadata.args(["metadata", "--format-version=1"]))?;
        Ok(Self {
            xtask,
            metadata: serde_json::from_str(&metadata).context("cargo metadata is not JSON")?,
            documents: documents::all(workspace::root())?,
            toolchain: OnceCell::new(),
            objects: OnceCell::new(),
        })
    }

    /// What compiles the kernel program.
    fn toolchain(&self) -> Result<&Toolchain> {
        if let Some(toolchain) = self.toolchain.get() {
            return Ok(toolchain);
        }
        let toolchain = setup::toolchain()?;
        Ok(self.toolchain.get_or_init(|| toolchain))
    }

    /// The kernel program, or nothing if it does not compile, of which its own
    /// gate speaks. What is compiled for the host is given it as the tests are,
    /// so that neither undoes what the other built.
    fn objects(&self) -> Result<Option<&Objects>> {
        let toolchain = self.toolchain()?;
        let objects = self.objects.get_or_init(|| kernel::build(toolchain).ok());
        Ok(objects.as_ref())
    }
}
