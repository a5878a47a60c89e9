//! What is on the screen.

use std::time::Instant;

use ratatui::{
    Frame,
    layout::{Constraint, Layout},
    style::{Color, Style, Stylize as _},
    text::{Line, Span},
    widgets::Paragraph,
};

use super::rates::{Rate, Rates};
use crate::{
    api::client::ClientError,
    cli::{backend, lb, words},
    wire::{Backend, Drain, LoadBalancer, Status},
};

/// Cells of one bar.
const BAR: u32 = 12;

#[derive(Debug)]
pub(super) struct View {
    only: Option<String>,
    sample: Option<(Status, Vec<LoadBalancer>)>,
    rates: Rates,
    silence: Option<(Instant, String)>,
    first_line: usize,
    lines: usize,
}

impl View {
    pub(super) fn new(only: Option<String>) -> Self {
        Self {
            only,
            sample: None,
            rates: Rates::default(),
            silence: None,
            first_line: 0,
            lines: 0,
        }
    }

    pub(super) fn show(&mut self, status: Status, lbs: Vec<LoadBalancer>, rates: Rates) {
        self.sample = Some((status, lbs));
        self.rates = rates;
        self.silence = None;
    }

    /// What was shown last stays, and is said to be old.
    pub(super) fn silent(&mut self, error: &ClientError) {
        let since = self.silence.take().map_or_else(Instant::now, |(at, _)| at);
        self.silence = Some((since, error.to_string()));
    }

    pub(super) fn load_balancers(&self) -> &[LoadBalancer] {
        self.sample.as_ref().map_or(&[], |(_, lbs)| lbs)
    }

    pub(super) fn scroll(&mut self, lines: isize) {
        let line = self.first_line.saturating_add_signed(lines);
        self.first_line = line.min(self.lines.saturating_sub(1));
    }

    pub(super) fn draw(&mut self, frame: &mut Frame<'_>) {
        let [head, body] =
            Layout::vertical([Constraint::Length(2), Constraint::Min(0)]).areas(frame.area());
        frame.render_widget(Paragraph::new(self.head()), head);
        let lines = self.body();
        self.lines = lines.len();
        // What fits is shown whole, however far it was scrolled before.
        let most = self.lines.saturating_sub(usize::from(body.height));
        self.first_line = self.first_line.min(most);
        let shown: Vec<Line<'_>> = lines.into_iter().skip(self.first_line).collect();
        frame.render_widget(Paragraph::new(shown), body);
    }

    fn head(&self) -> Line<'static> {
        let Some((status, _)) = &self.sample else {
            return Line::default();
        };
        if let Some((since, error)) = &self.silence {
            let silence = format!(
                "no answer for {}: {error}",
                words::duration(since.elapsed().as_secs())
            );
            return Line::from(vec!["ebb  ".bold(), silence.red()]);
        }
        let total = self.rates.total();
        Line::from(vec![
            format!("ebb {}  ", status.version).bold(),
            format!(
                "up {}  {}  {} new/s  {} packets/s  in {}/s  out {}/s",
                words::duration(status.uptime_seconds),
                words::counted(status.flows, "flow"),
                number(total.opened),
                number(total.packets),
                size(total.bytes_in),
                size(total.bytes_out)
            )
            .into(),
            "  q quits".dim(),
        ])
    }

    fn body(&self) -> Vec<Line<'static>> {
        let Some((status, lbs)) = &self.sample else {
            return Vec::new();
        };
        let mut lines: Vec<Line<'static>> = status
            .warnings
            .iter()
            .map(|warning| Line::from(format!("warning: {warning}").yellow()))
            .collect();
        let chosen = |lb: &&LoadBalancer| self.only.as_ref().is_none_or(|only| *only == lb.name);
        for lb in lbs.iter().filter(chosen) {
            if !lines.is_empty() {
                lines.push(Line::default());
            }
            self.load_balancer(lb, &mut lines);
        }
        if lines.is_empty() {
            let nothing = match &self.only {
                Some(only) => format!("there is no load balancer \"{only}\""),
                None => {
                    "no load balancers; `ebb lb create --help` shows how to make one".to_owned()
                }
            };
            lines.push(Line::from(nothing));
        }
        lines
    }

    fn load_balancer(&self, lb: &LoadBalancer, lines: &mut Vec<Line<'static>>) {
        let listeners: Vec<_> = lb.listeners.iter().map(lb::listener).collect();
        let about = if lb.deleting {
            "deleting, draining".to_owned()
        } else {
            listeners.join(", ")
        };
        lines.push(Line::from(vec![
            lb.name.clone().bold().cyan(),
            format!("  {}  {about}", lb.mode.name()).into(),
        ]));
        let width = lb
            .backends
            .iter()
            .map(|backend| backend.id.chars().count())
            .max()
            .unwrap_or(0)
            .max("BACKEND".len());
        lines.push(Line::from(
            format!(
                "  {:width$}  {:14}  {:>9}  {:>8}  {:>12}  {:>12}",
                "BACKEND", "STATE", "FLOWS", "NEW/S", "IN/S", "OUT/S"
            )
            .dim(),
        ));
        for backend in &lb.backends {
            lines.push(self.backend(lb, backend, width));
        }
    }

    fn backend(&self, lb: &LoadBalancer, backend: &Backend, width: usize) -> Line<'static> {
        let (state, colour) = state(backend);
        let rate = self.rates.of(&lb.name, &backend.id).unwrap_or_default();
        let Rate {
            opened,
            bytes_in,
            bytes_out,
            ..
        } = rate;
        let mut spans = vec![
            format!("  {:width$}  ", backend.id).into(),
            Span::styled(format!("{state:14}"), Style::new().fg(colour)),
            format!(
                "  {:>9}  {:>8}  {:>12}  {:>12}  ",
                words::count(backend.flows),
                number(opened),
                size(bytes_in),
                size(bytes_out)
            )
            .into(),
        ];
        match &backend.drain {
            Some(drain) if drain.outcome.is_none() => spans.extend(bars(drain)),
            _ => spans.push(backend::note(backend).dim()),
        }
        Line::from(spans)
    }
}

/// Two bars that run down: flows, and time.
fn bars(drain: &Drain) -> Vec<Span<'static>> {
    let flows_at_start = drain.flows_at_start.max(drain.flows_left);
    let flows = bar(drain.flows_left, flows_at_start);
    let time = bar(drain.seconds_left.into(), drain.timeout.into());
    vec![
        flows.yellow(),
        format!(
            " {} of {}  ",
            words::count(drain.flows_left),
            words::counted(flows_at_start, "flow")
        )
        .into(),
        time.magenta(),
        format!(" {}", words::duration(drain.seconds_left.into())).into(),
    ]
}

/// Empty only when nothing is left.
fn bar(left: u64, all: u64) -> String {
    let cells = if all == 0 {
        0
    } else {
        // All in u128: no counter is too large for it.
        let cells = (u128::from(left) * u128::from(BAR)).div_ceil(u128::from(all));
        usize::try_from(cells.min(BAR.into())).unwrap_or(0)
    };
    "█".repeat(cells) + &"░".repeat(BAR as usize - cells)
}

fn state(backend: &Backend) -> (&str, Color) {
    let (word, _) = backend::state(backend);
    let colour = match word {
        "in service" if backend.takes_new => Color::Green,
        "draining" | "closing" => Color::Yellow,
        "gone" => Color::DarkGray,
        _ => Color::Red,
    };
    (word, colour)
}

fn number(n: f64) -> String {
    if n > 0.0 && n < 10.0 {
        format!("{n:.1}")
    } else {
        words::count(whole(n))
    }
}

fn size(n: f64) -> String {
    words::bytes(whole(n))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative, and `as` saturates"
)]
fn whole(n: f64) -> u64 {
    n.round() as u64
}

#[cfg(test)]
mod tests {
    use ratatui::{Terminal, backend::TestBackend};

    use super::*;
    use crate::cli::samples;

    fn screen(view: &mut View, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| view.draw(frame)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content.chunks(usize::from(width));
        rows.map(|row| {
            let row: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
            row.trim_end().to_owned() + "\n"
        })
        .collect()
    }

    fn view() -> View {
        let mut view = View::new(None);
        let mut status = samples::status();
        status.warnings.clear();
        let lbs = vec![samples::load_balancer()];
        view.show(status, lbs, Rates::default());
        view
    }

    #[test]
    fn a_drain_has_two_bars_and_everyone_a_line() {
        assert_eq!(
            screen(&mut view(), 150, 9),
            "\
ebb 0.1.0  up 1h1m  1,146 flows  0 new/s  0 packets/s  in 0 B/s  out 0 B/s  q quits

web  nat  tcp:10.0.0.100:80 -> 8080, udp:[fd00::1]:53
  BACKEND  STATE               FLOWS     NEW/S          IN/S         OUT/S
  web-1    draining               12         0           0 B           0 B  ████░░░░░░░░ 12 of 40 flows  ███████████░ 4m32s
  web-2    in service          1,134         0           0 B           0 B
  web-3    out of service          0         0           0 B           0 B  Instance has failed at least the UnhealthyThreshold number of health check
  web-4    in service              0         0           0 B           0 B  gets no new flows, unreachable: no answer to ARP on eth1

"
        );
    }

    #[test]
    fn a_small_screen_scrolls_and_never_past_the_end() {
        let mut view = view();
        screen(&mut view, 40, 4);
        view.scroll(isize::MAX);
        let end = screen(&mut view, 40, 4);
        assert!(end.contains("web-4"), "{end}");
        assert!(end.contains("web-3"), "{end}");
        view.scroll(isize::MIN);
        assert!(screen(&mut view, 40, 4).contains("web  nat"));
        // A window can be made too small for anything.
        screen(&mut view, 1, 1);
    }

    #[test]
    fn a_silent_agent_is_said_to_be_silent_until_it_answers() {
        let mut view = view();
        let error = ClientError::TimedOut(std::time::Duration::from_secs(60));
        view.silent(&error);
        let text = screen(&mut view, 150, 9);
        assert!(
            text.contains("no answer for 0s: the agent did not"),
            "{text}"
        );
        assert!(text.contains("web-1"), "{text}");
        let (status, lbs) = view.sample.clone().unwrap();
        view.show(status, lbs, Rates::default());
        assert!(!screen(&mut view, 150, 9).contains("silent"));
    }

    #[test]
    fn a_bar_is_full_at_the_start_and_empty_only_at_the_end() {
        let full = |bar: &str| bar.matches('█').count();
        assert_eq!(full(&bar(40, 40)), 12);
        assert_eq!(full(&bar(1, 1_000_000)), 1);
        assert_eq!(full(&bar(0, 40)), 0);
        assert_eq!(full(&bar(0, 0)), 0);
        assert_eq!(full(&bar(u64::MAX, 1)), 12);
    }
}
