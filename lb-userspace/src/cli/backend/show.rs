//! `ebb backend show`.

use super::shown::{progress, state};
use crate::{
    api::client::Client,
    cli::{
        error::CliError,
        exit::Exit,
        table,
        ui::{STRONG, Ui},
        words,
    },
    wire::{Backend, State},
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The load balancer's name
    #[arg(value_name = "LB")]
    lb: String,

    /// The backend's id
    #[arg(value_name = "BACKEND")]
    backend: String,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    let backend = client.backend(&args.lb, &args.backend).await?;
    ui.result(&backend, || render(&args.lb, &backend))?;
    Ok(Exit::Done)
}

fn render(lb: &str, backend: &Backend) -> String {
    let (word, style) = state(backend);
    let by_hand = if backend.health_by_hand {
        ", set by hand"
    } else {
        ""
    };
    let next_hop = match (&backend.next_hop_error, &backend.next_hop) {
        (Some(error), _) => format!("none: {error}"),
        (None, Some(found)) => format!("{} via {}", found.mac, found.interface),
        (None, None) => "not known yet".to_owned(),
    };
    let counters = &backend.counters;
    let traffic = |packets, bytes| {
        format!(
            "{} in {}",
            words::bytes(bytes),
            words::counted(packets, "packet")
        )
    };
    let elb_state = match backend.state {
        State::InService => "InService",
        State::OutOfService => "OutOfService",
        State::Unknown => "Unknown",
    };
    let mut facts = vec![
        ("address", backend.address.to_string()),
        ("weight", backend.weight.to_string()),
        ("state", format!("{style}{word}{style:#}")),
        (
            "ELB state",
            format!(
                "{elb_state}, {}, {}",
                backend.reason_code, backend.description
            ),
        ),
        ("health", format!("{}{by_hand}", backend.health)),
        (
            "takes new flows",
            if backend.takes_new { "yes" } else { "no" }.to_owned(),
        ),
        ("next hop", next_hop),
        (
            "flows",
            format!(
                "{} ({} opened, {} closed)",
                words::count(backend.flows),
                words::count(counters.opened),
                words::count(counters.closed)
            ),
        ),
        (
            "from clients",
            traffic(counters.packets_in, counters.bytes_in),
        ),
        (
            "from the backend",
            traffic(counters.packets_out, counters.bytes_out),
        ),
    ];
    if counters.untracked > 0 {
        facts.push((
            "without an entry",
            format!(
                "{} packets from clients: the table of flows was full",
                words::count(counters.untracked)
            ),
        ));
    }
    if let Some(drain) = &backend.drain {
        facts.push((
            "drain",
            format!(
                "since {}, timeout {}: {}",
                drain.started,
                words::duration(drain.timeout.into()),
                progress(drain)
            ),
        ));
    }
    format!(
        "{STRONG}{}{STRONG:#} of {lb}\n{}",
        backend.id,
        table::facts(facts)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn a_draining_backend_is_shown_in_our_words_and_in_elbs() {
        let lb = samples::load_balancer();
        let text = samples::plain(&render("web", &lb.backends[0]));
        assert_eq!(
            text,
            "\
web-1 of web
  address           10.0.1.11
  weight            1
  state             draining
  ELB state         InService, N/A, Instance deregistration currently in progress.
  health            healthy
  takes new flows   no
  next hop          02:00:00:00:00:01 via eth1
  flows             12 (52 opened, 40 closed)
  from clients      1.5 KiB in 12 packets
  from the backend  1.0 MiB in 900 packets
  drain             since 2026-01-02T03:04:05Z, timeout 5m: 12 of 40 flows left, 4m32s to the deadline
"
        );
    }
}
