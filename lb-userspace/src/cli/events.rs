//! `ebb events`: what happened, and what happens.

use std::time::Duration;

use super::{
    error::CliError,
    exit::Exit,
    ui::{FAINT, Ui},
};
use crate::{
    api::client::Client,
    wire::{Event, Events},
};

/// How long to wait before the agent is asked again, as while it is restarted.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
The agent keeps the latest few thousand events since it started. With --follow, --json
prints one event per line; events are numbered consecutively, so a gap means that some
were missed.")]
pub(super) struct Args {
    /// Show only events of this load balancer
    #[arg(value_name = "LB")]
    lb: Option<String>,

    /// Show only events of this backend
    #[arg(long, value_name = "ID")]
    backend: Option<String>,

    /// Keep printing new events until interrupted
    #[arg(long, short)]
    follow: bool,

    /// Show at most this many past events; with --follow, none by default
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
    let by = if event.by == "agent" {
        String::new()
    } else {
        format!("  {FAINT}({}){FAINT:#}", event.by)
    };
    format!("{FAINT}{}{FAINT:#}  {event}{by}\n", event.time)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::samples, wire::What};

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
        let started = What::DrainStarted {
            timeout: 300,
            flows: 1,
        };
        let lines = [
            event(started, "uid 0 pid 7"),
            event(What::Deregistered, "agent"),
        ]
        .map(|event| samples::plain(&line(&event)));
        assert_eq!(
            lines,
            [
                "2026-01-02T03:04:05Z  web/web-1: drain started, 1 flow, at most 300 s  (uid 0 pid 7)\n",
                "2026-01-02T03:04:05Z  web/web-1: deregistered\n",
            ]
        );
    }
}
