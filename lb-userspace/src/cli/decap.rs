//! `ebb decap`: the backend's end of an ipip tunnel.

use std::net::IpAddr;

use super::{error::CliError, exit::Exit, ui::Ui};
use crate::decap::Decap;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where tunnelled packets come in; may be given more than once
    #[arg(long = "interface", value_name = "IF", required = true)]
    interfaces: Vec<String>,

    /// The VIP whose packets to open; may be given more than once. The host must
    /// have it too, on its loopback device for example
    #[arg(long = "vip", value_name = "ADDRESS", required = true)]
    vips: Vec<IpAddr>,
}

/// Runs until it is interrupted, then detaches.
pub(super) async fn run(args: &Args, ui: &Ui) -> Result<Exit, CliError> {
    let (decap, in_driver) = Decap::start(&args.interfaces, &args.vips)?;
    for (interface, driver) in args.interfaces.iter().zip(in_driver) {
        let how = if driver {
            "in its driver"
        } else {
            "by the generic hook: its driver has no XDP, so every packet costs an allocation first"
        };
        ui.note(&format!("opening ipip packets on {interface}, {how}"));
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(CliError::Runtime)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(CliError::Runtime)?,
        _ = terminate.recv() => {}
    }
    ui.note(&format!("{} packets opened", decap.opened()?));
    Ok(Exit::Done)
}
