//! `ebb backend health`.

use clap::ValueEnum;

use super::shown;
use crate::{
    api::client::Client,
    cli::{error::CliError, exit::Exit, ui::Ui},
    wire::HealthByHand,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// The backend's id
    #[arg(value_name = "BACKEND")]
    backend: String,

    /// What it shall be
    #[arg(value_enum)]
    health: HealthArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HealthArg {
    /// It may take new flows, whatever the health check says
    Healthy,
    /// No new flows; open ones go on (with connection draining off: are closed)
    Unhealthy,
    /// What the health check says, or healthy where there is none
    Auto,
}

impl From<HealthArg> for HealthByHand {
    fn from(health: HealthArg) -> Self {
        match health {
            HealthArg::Healthy => Self::Healthy,
            HealthArg::Unhealthy => Self::Unhealthy,
            HealthArg::Auto => Self::Auto,
        }
    }
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let backend = client
        .set_health(&args.lb, &args.backend, args.health.into())
        .await?;
    ui.result(&backend, || shown::table(std::slice::from_ref(&backend)))?;
    Ok(Exit::Done)
}
