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

    /// The health to set
    #[arg(value_enum)]
    health: HealthArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum HealthArg {
    /// Takes new flows, whatever the health check says
    Healthy,
    /// Takes no new flows; open ones continue (with draining disabled, they are closed)
    Unhealthy,
    /// Whatever the health check finds, or healthy if there is none
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
