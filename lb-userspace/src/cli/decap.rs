//! `ebb decap`: the backend's end of an ipip tunnel.

use std::net::IpAddr;

use super::{error::CliError, exit::Exit, ui::Ui};
use crate::decap::Decap;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The interface that tunnelled packets arrive on; may be repeated
    #[arg(long = "interface", value_name = "IF", required = true)]
    interfaces: Vec<String>,

    /// The VIP whose packets to decapsulate; may be repeated. The host must have
    /// the address too, for example on its loopback device
    #[arg(long = "vip", value_name = "ADDRESS", required = true)]
    vips: Vec<IpAddr>,
}

/// Runs until it is interrupted, then detaches.
pub(super) async fn run(args: &Args, ui: &Ui) -> Result<Exit, CliError> {
    let (decap, in_driver) = Decap::start(&args.interfaces, &args.vips)?;
    for (interface, driver) in args.interfaces.iter().zip(in_driver) {
        let how = if driver {
            "in native mode"
        } else {
            "in generic mode: its driver does not support XDP, so every packet costs an extra \
             allocation"
        };
        ui.note(&format!("decapsulating ipip packets on {interface}, {how}"));
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
        .map_err(CliError::Runtime)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(CliError::Runtime)?,
        _ = terminate.recv() => {}
    }
    ui.note(&format!("{} packets decapsulated", decap.opened()?));
    let congested = decap.congested()?;
    if congested > 0 {
        ui.note(&format!(
            "{congested} dropped: they met congestion on their way here, and their senders do \
             not do ECN"
        ));
    }
    Ok(Exit::Done)
}
