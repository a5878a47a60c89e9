//! Waiting for the end of a drain, with what is left of it in view.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::shown::progress;
use crate::{
    api::client::Client,
    cli::{error::CliError, ui::Ui},
    wire::Backend,
};

/// How often the agent is asked.
const INTERVAL: Duration = Duration::from_millis(200);

/// How long the agent may be silent, as while it is restarted. Its drains go on
/// without it, so waiting goes on too.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where nobody watches, a line at least this often, and at most once a second.
const LINE_EVERY: Duration = Duration::from_secs(10);
const LINE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Returns the backend as it is when its drain is over.
pub(super) async fn until_over(
    lb: &str,
    backend: Backend,
    client: &Client,
    ui: &Ui,
) -> Result<Backend, CliError> {
    let id = backend.id.clone();
    tokio::select! {
        over = follow(lb, backend, client, ui) => over,
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted {
            lb: lb.to_owned(),
            backend: id,
        }),
    }
}

async fn follow(
    lb: &str,
    mut backend: Backend,
    client: &Client,
    ui: &Ui,
) -> Result<Backend, CliError> {
    let mut view = View::new(lb, &backend, ui);
    let mut heard = Instant::now();
    let mut told_of_silence = false;
    loop {
        match backend.registration.as_str() {
            "gone" => return Ok(backend),
            "draining" | "closing" => view.show(&backend, ui),
            _ => {
                return Err(CliError::DrainCancelled {
                    lb: lb.to_owned(),
                    backend: backend.id,
                });
            }
        }
        tokio::time::sleep(INTERVAL).await;
        match client.backend(lb, &backend.id).await {
            Ok(now) => {
                backend = now;
                heard = Instant::now();
                told_of_silence = false;
            }
            Err(e) if e.may_pass() && heard.elapsed() < PATIENCE => {
                if !told_of_silence {
                    view.say(
                        "the agent does not answer; the drain continues, trying again",
                        ui,
                    );
                    told_of_silence = true;
                }
            }
            Err(e) => return Err(e.into()),
        }
    }
}

/// A bar on a terminal, lines elsewhere.
enum View {
    Bar(ProgressBar),
    Lines {
        prefix: String,
        last: Option<(u64, Instant)>,
    },
}

impl View {
    fn new(lb: &str, backend: &Backend, ui: &Ui) -> Self {
        let prefix = format!("{} of {lb}", backend.id);
        if !ui.watched() {
            return Self::Lines { prefix, last: None };
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:24}] {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(prefix);
        Self::Bar(bar)
    }

    fn show(&mut self, backend: &Backend, ui: &Ui) {
        let Some(drain) = &backend.drain else {
            return;
        };
        let text = if backend.registration == "closing" {
            format!("closing, {}", progress(drain))
        } else {
            progress(drain)
        };
        match self {
            Self::Bar(bar) => {
                let all = drain.flows_at_start.max(drain.flows_left);
                bar.set_length(all);
                bar.set_position(all - drain.flows_left);
                bar.set_message(text);
            }
            Self::Lines { prefix, last } => {
                let due = last.is_none_or(|(flows, at)| {
                    at.elapsed() >= LINE_EVERY
                        || flows != drain.flows_left && at.elapsed() >= LINE_AT_MOST_EVERY
                });
                if due {
                    ui.note(&format!("{prefix}: {text}"));
                    *last = Some((drain.flows_left, Instant::now()));
                }
            }
        }
    }

    fn say(&self, text: &str, ui: &Ui) {
        match self {
            Self::Bar(bar) => bar.println(text),
            Self::Lines { .. } => ui.note(text),
        }
    }
}

impl Drop for View {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
