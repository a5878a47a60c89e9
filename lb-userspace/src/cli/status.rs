//! `ebb status`.

use super::{
    error::CliError,
    exit::Exit,
    table,
    ui::{CAUTION, STRONG, Ui},
    words,
};
use crate::{
    api::client::Client,
    wire::{NatPorts, Status, Table},
};

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Also show verdicts that no packet has had
    #[arg(long, short)]
    all: bool,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let status = client.status().await?;
    ui.result(&status, || render(&status, args.all))?;
    Ok(Exit::Done)
}

fn render(status: &Status, all: bool) -> String {
    let interfaces: Vec<_> = status
        .interfaces
        .iter()
        .map(|interface| format!("{} ({})", interface.name, interface.hook))
        .collect();
    let tally = &status.backends;
    let facts = [
        ("pid", status.pid.to_string()),
        (
            "up",
            format!(
                "{}, since {}",
                words::duration(status.uptime_seconds),
                status.started
            ),
        ),
        ("interfaces", interfaces.join(", ")),
        ("load balancers", words::count(status.load_balancers)),
        (
            "backends",
            format!(
                "{} in service, {} draining, {} out of service",
                words::count(tally.in_service),
                words::count(tally.draining),
                words::count(tally.out_of_service)
            ),
        ),
        ("flows", format!("{} open", words::count(status.flows))),
        ("room", room(&status.tables)),
    ];
    let ports: Vec<_> = status.nat_ports.iter().map(ports).collect();
    let facts = facts
        .into_iter()
        .chain((!ports.is_empty()).then(|| ("nat ports", ports.join(&format!("\n{:18}", "")))));
    let mut text = format!(
        "{STRONG}ebb {}{STRONG:#}\n{}",
        status.version,
        table::facts(facts)
    );
    let verdicts: Vec<_> = status
        .verdicts
        .iter()
        .filter(|(_, n)| all || **n > 0)
        .collect();
    if !verdicts.is_empty() {
        let mut rows = table::Table::new(["VERDICT", ">PACKETS"]);
        for (verdict, packets) in verdicts {
            rows.row([verdict.as_str().into(), words::count(*packets).into()]);
        }
        text.push_str(&format!("\n{}", rows.render()));
    }
    for warning in &status.warnings {
        text.push_str(&format!("\n{CAUTION}warning:{CAUTION:#} {warning}\n"));
    }
    text
}

/// How many ports of nat are taken, from where to where.
fn ports(ports: &NatPorts) -> String {
    let (used, limit) = (words::count(ports.used), words::count(ports.limit));
    let NatPorts {
        source,
        target,
        protocol,
        ..
    } = ports;
    format!("{used} of {limit} from {source} to {target} ({protocol})")
}

/// How much of each table is taken, the flows' on a line of their own.
fn room(tables: &[Table]) -> String {
    let (flows, counted): (Vec<_>, Vec<_>) = tables
        .iter()
        .partition(|table| table.name.starts_with("flows_"));
    let line = |tables: Vec<&Table>| {
        let parts: Vec<_> = tables
            .into_iter()
            .map(|table| {
                let name = table
                    .name
                    .replace("flows_ipv", "flow entries for IPv")
                    .replace('_', " ");
                let (used, limit) = (words::count(table.used), words::count(table.limit));
                format!("{used} of {limit} {name}")
            })
            .collect();
        parts.join(", ")
    };
    format!("{}\n{:18}{}", line(counted), "", line(flows))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_status_fits_a_screen() {
        assert_eq!(
            samples::plain(&render(&samples::status(), false)),
            "\
ebb 0.1.0
  pid             42
  up              1h1m, since 2026-01-02T03:04:05Z
  interfaces      eth0 (xdp), eth1 (tc)
  load balancers  1
  backends        2 in service, 1 draining, 1 out of service
  flows           1,146 open
  room            1 of 1,024 load balancers, 4 of 16,384 backends, 2 of 4,096 listeners
                  2,292 of 262,144 flow entries for IPv4, 0 of 262,144 flow entries for IPv6
  nat ports       1,146 of 31,744 from 10.0.1.1 to 10.0.1.11:8080 (tcp)

VERDICT  PACKETS
forward    5,000

warning: eth2 is missing: its traffic is not balanced
"
        );
    }
}
