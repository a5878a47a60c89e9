//! `ebb lb create`.

use clap::ValueEnum;

use super::{listener::ListenerSpec, show};
use crate::{
    api::client::Client,
    cli::{
        attributes::{self, Assignment},
        backend::BackendSpec,
        error::CliError,
        exit::Exit,
        ui::Ui,
    },
    model::Mode,
    wire::{NewBackend, NewLoadBalancer},
};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  ebb lb create web --mode nat --listener tcp:10.0.0.100:80:8080 \\
      --backend web-1=10.0.1.11 --backend web-2=10.0.1.12@3 \\
      --attribute idle-timeout=600")]
pub(in crate::cli) struct Args {
    /// The name: 1 to 32 letters, digits and hyphens
    #[arg(value_name = "NAME")]
    name: String,

    /// How packets reach the backends
    #[arg(long, value_enum, default_value_t = ModeArg::Nat)]
    mode: ModeArg,

    /// What clients connect to, and the backends' port if it differs; may be
    /// repeated
    #[arg(
        long = "listener",
        required = true,
        value_name = "tcp|udp:ADDRESS:PORT[:BACKEND_PORT]"
    )]
    listeners: Vec<ListenerSpec>,

    /// A backend, with a weight from 1 to 1000; may be repeated
    #[arg(long = "backend", value_name = "[ID=]ADDRESS[@WEIGHT]")]
    backends: Vec<BackendSpec>,

    /// An attribute, as in `ebb attributes set`; may be repeated
    #[arg(long = "attribute", value_name = "KEY=VALUE")]
    attributes: Vec<Assignment>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(in crate::cli) enum ModeArg {
    /// Both addresses are translated; replies come back through ebb
    Nat,
    /// The MAC address is rewritten; backends reply to clients directly
    Dsr,
    /// Packets are encapsulated; backends reply to clients directly
    Ipip,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Nat => Self::Nat,
            ModeArg::Dsr => Self::Dsr,
            ModeArg::Ipip => Self::Ipip,
        }
    }
}

pub(super) async fn run(args: Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let new = NewLoadBalancer {
        health_check: None,
        name: args.name,
        mode: args.mode.into(),
        listeners: args.listeners.into_iter().map(|spec| spec.0).collect(),
        backends: args.backends.into_iter().map(NewBackend::from).collect(),
        attributes: attributes::patch(&args.attributes),
        elb: serde_json::Value::Null,
    };
    let lb = client.create(&new).await?;
    ui.result(&lb, || show::render(&lb))?;
    Ok(Exit::Done)
}
