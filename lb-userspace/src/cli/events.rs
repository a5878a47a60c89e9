//! `ebb events`: what happened, and what happens.

use std::time::Duration;

use super::{
    Exit, backend,
    error::CliError,
    ui::{FAINT, STRONG, Ui},
    words,
};
use crate::{
    api::{client::Client, types::Events},
    control::{Event, event::What},
};

/// How long to wait before the agent is asked again, as while it is restarted.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The agent keeps the latest few thousand events since its start. With --follow,
--json prints one event a line; the numbers count up by one, so that a gap shows
that events were missed.")]
pub(super) struct Args {
    /// Only those of this load balancer
    #[arg(value_name = "LB")]
    lb: Option<String>,

    /// Only those of this backend
    #[arg(long, value_name = "ID")]
    backend: Option<String>,

    /// Go on with what happens, until interrupted
    #[arg(long, short)]
    follow: bool,

    /// At most so many of those that happened; with --follow, none when left out
    #[arg(long, short = 'n', value_name = "N")]
    last: Option<usize>,
}

pub(super) async fn run(args: &Args, client: &Client, ui: &Ui) -> Result<Exit, CliError> {
    if !args.follow {
        let events = happened(args, client).await?;
        ui.result(&events, || events.events.iter().map(line).collect())?;
        return Ok(Exit::Done);
    }
    let mut after = None;
    // Once the agent has answered, it may be restarted.
    let mut patient = false;
    if args.last.is_some() {
        let events = client.events().await?;
        patient = true;
        after = Some(events.events.last().map_or(0, |event| event.number));
        for event in choose(args, events).events {
            ui.line(&event, || line(&event))?;
        }
    }
    loop {
        match client.follow(after).await {
            Ok(mut stream) => {
                while let Ok(Some(event)) = stream.next().await {
                    after = Some(event.number);
                    if concerns(args, &event) && !ui.line(&event, || line(&event))? {
                        return Ok(Exit::Done);
                    }
                }
                ui.note("the agent is gone; waiting for it to come back");
                patient = true;
                // From here on, nothing that its successor says is old.
                after = after.or(Some(0));
            }
            Err(e) if patient && e.may_pass() => {}
            Err(e) => return Err(e.into()),
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn happened(args: &Args, client: &Client) -> Result<Events, CliError> {
    Ok(choose(args, client.events().await?))
}

fn choose(args: &Args, events: Events) -> Events {
    let mut events: Vec<_> = events
        .events
        .into_iter()
        .filter(|event| concerns(args, event))
        .collect();
    if let Some(last) = args.last {
        events.drain(..events.len().saturating_sub(last));
    }
    Events { events }
}

fn concerns(args: &Args, event: &Event) -> bool {
    let lb = args.lb.as_ref().is_none_or(|lb| *lb == event.load_balancer);
    lb && (args.backend.is_none() || args.backend == event.backend)
}

fn line(event: &Event) -> String {
    let of = &event.load_balancer;
    let subject = match &event.backend {
        Some(backend) => format!("{backend} of {of}"),
        None => of.clone(),
    };
    let by = if event.by == "agent" {
        String::new()
    } else {
        format!("  {FAINT}({}){FAINT:#}", event.by)
    };
    format!(
        "{FAINT}{}{FAINT:#}  {STRONG}{subject}{STRONG:#}: {}{by}\n",
        event.time,
        happening(&event.what)
    )
}

fn happening(what: &What) -> String {
    let flows = |n: &u64| words::counted(*n, "flow");
    let seconds = |n: &u32| words::duration((*n).into());
    match what {
        What::LoadBalancerCreated => "created".to_owned(),
        What::LoadBalancerDeleting => "deleted, drains".to_owned(),
        What::LoadBalancerDeleted => "gone".to_owned(),
        What::ListenerAdded { listener } => format!("listener {listener} added"),
        What::ListenerRemoved { listener } => format!("listener {listener} removed"),
        What::AttributesChanged { from, to } => {
            let from = super::attributes::facts(from);
            let to = super::attributes::facts(to);
            let changes: Vec<_> = from
                .iter()
                .zip(&to)
                .filter(|(from, to)| from != to)
                .map(|((key, from), (_, to))| format!("{key} {from} -> {to}"))
                .collect();
            changes.join(", ")
        }
        What::Registered => "registered".to_owned(),
        What::WeightChanged { from, to } => format!("weight {from} -> {to}"),
        What::InService => "in service".to_owned(),
        What::OutOfService { reason } => {
            format!("out of service: {}", reason.trim_end_matches('.'))
        }
        What::DrainStarted { timeout, flows: n } => {
            format!("drain started: {}, timeout {}", flows(n), seconds(timeout))
        }
        What::DrainProgress {
            flows_left,
            seconds_left,
        } => format!(
            "draining: {} left, {} to the deadline",
            flows(flows_left),
            seconds(seconds_left)
        ),
        What::DrainDeadlineMoved { timeout } => {
            format!("deadline moved: timeout {}", seconds(timeout))
        }
        What::DrainCutting { flows: n } => format!("closing what is left: {}", flows(n)),
        What::DrainEnded { outcome } => format!("drain ended: {}", backend::outcome(outcome)),
        What::FlowsCut { flows: n } => format!("unhealthy with draining off: closing {}", flows(n)),
        What::Deregistered => "deregistered".to_owned(),
        What::NextHopKnown { interface, mac } => format!("reached at {mac} through {interface}"),
        What::NextHopLost { reason } => format!("cannot be reached: {reason}"),
        What::BooksDiffer { counted, found } => format!(
            "the books differ: {} counted, {} found",
            flows(counted),
            flows(found)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::types::DrainOutcome, cli::samples};

    #[test]
    fn an_event_is_a_line() {
        let event = |what, by: &str| Event {
            number: 1,
            time: "2026-01-02T03:04:05Z".to_owned(),
            by: by.to_owned(),
            load_balancer: "web".to_owned(),
            backend: Some("web-1".to_owned()),
            what,
        };
        let attributes = samples::load_balancer().attributes;
        let mut changed = attributes;
        changed.idle_timeout = 60;
        for (event, text) in [
            (
                event(
                    What::DrainStarted {
                        timeout: 300,
                        flows: 1,
                    },
                    "uid 0 pid 7",
                ),
                "2026-01-02T03:04:05Z  web-1 of web: drain started: 1 flow, timeout 5m  (uid 0 pid 7)\n",
            ),
            (
                event(
                    What::DrainEnded {
                        outcome: DrainOutcome::Cut { flows: 2 },
                    },
                    "agent",
                ),
                "2026-01-02T03:04:05Z  web-1 of web: drain ended: 2 flows were cut\n",
            ),
            (
                event(
                    What::AttributesChanged {
                        from: attributes,
                        to: changed,
                    },
                    "agent",
                ),
                "2026-01-02T03:04:05Z  web-1 of web: idle-timeout 350 s -> 60 s\n",
            ),
        ] {
            assert_eq!(samples::plain(&line(&event)), text);
        }
    }
}
