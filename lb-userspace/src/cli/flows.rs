//! `ebb flows`: who is connected, and who holds a drain up.

use clap::ValueEnum;

use super::{error::CliError, exit::Exit, table::Table, ui::Ui, words};
use crate::{
    api::client::Client,
    wire::{FlowSort, Flows},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// Show only flows of this backend
    #[arg(long, value_name = "ID")]
    backend: Option<String>,

    /// Show at most this many
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,

    /// What to show first: the oldest, the longest idle, or those with the most bytes
    #[arg(long, value_enum, default_value_t = SortArg::Age)]
    sort: SortArg,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SortArg {
    Age,
    Idle,
    Bytes,
}

impl From<SortArg> for FlowSort {
    fn from(sort: SortArg) -> Self {
        match sort {
            SortArg::Age => Self::Age,
            SortArg::Idle => Self::Idle,
            SortArg::Bytes => Self::Bytes,
        }
    }
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let flows = client
        .flows(
            &args.lb,
            args.backend.as_deref(),
            args.limit,
            args.sort.into(),
        )
        .await?;
    ui.result(&flows, || render(&flows))?;
    let shown = flows.flows.len() as u64;
    if flows.flows.is_empty() {
        ui.note("no flows");
    } else if shown < flows.total {
        ui.note(&format!(
            "{} of {} shown; --limit N shows more",
            words::count(shown),
            words::counted(flows.total, "flow")
        ));
    }
    Ok(Exit::Done)
}

fn render(flows: &Flows) -> String {
    if flows.flows.is_empty() {
        return String::new();
    }
    let mut table = Table::new([
        "PROTOCOL", "CLIENT", "VIP", "BACKEND", "STATE", ">AGE", ">IDLE", ">BYTES",
    ]);
    for flow in &flows.flows {
        table.row([
            flow.protocol.name().into(),
            flow.client.as_str().into(),
            flow.vip.as_str().into(),
            flow.backend.as_str().into(),
            flow.state.as_str().into(),
            words::seconds(flow.age_seconds).into(),
            words::seconds(flow.idle_seconds).into(),
            words::bytes(flow.bytes).into(),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn a_flow_is_a_line() {
        assert_eq!(
            samples::plain(&render(&samples::flows())),
            "\
PROTOCOL  CLIENT               VIP            BACKEND  STATE          AGE  IDLE     BYTES
tcp       192.0.2.7:40001      10.0.0.100:80  web-1    established  1m15s  0.2s  12.0 MiB
udp       [2001:db8::1]:40002  [fd00::1]:53   web-2    replied       1.0s   55s     120 B
"
        );
    }
}
