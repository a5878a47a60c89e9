//! The story of a drain, told as it happens: a client, the balancer, three
//! nginx servers, one of which is taken out under load.

mod narrator;
mod story;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, ValueEnum};
use lb_userspace::model::Mode;
use tests::lab::interrupt;

/// Shows a drain that nobody notices.
#[derive(Parser)]
struct Args {
    /// How packets reach the servers.
    #[arg(long, value_enum, default_value = "nat")]
    mode: ModeArg,
}

#[derive(Clone, Copy, ValueEnum)]
enum ModeArg {
    Nat,
    Dsr,
}

fn main() -> ExitCode {
    let mode = match Args::parse().mode {
        ModeArg::Nat => Mode::Nat,
        ModeArg::Dsr => Mode::Dsr,
    };
    match tell(mode) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // What the lab made is gone by now: it went when `tell` returned.
        Err(_) if interrupt::noted() => {
            eprintln!("\ninterrupted; everything is cleaned up");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every promise was kept.
fn tell(mode: Mode) -> Result<bool> {
    interrupt::note()?;
    story::tell(mode)
}
