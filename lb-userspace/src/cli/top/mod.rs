//! `ebb top`: a live view that fills the screen.
//!
//! - [`feed`]: a thread that asks the agent, so that the screen never waits;
//! - [`rates`]: two samples → what happens a second;
//! - [`view`]: what is on the screen.

mod feed;
mod rates;
mod view;

use std::{
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};

use self::{
    feed::{Feed, News},
    rates::Rates,
    view::View,
};
use super::{error::CliError, exit::Exit, ui::Ui};
use crate::api::client::Client;

/// How soon news and a signal are noticed.
const TICK: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Keys: q, Esc or Ctrl-C quits; the arrows, Page Up, Page Down, Home and End scroll.")]
pub(super) struct Args {
    /// Show only this load balancer
    #[arg(value_name = "LB")]
    lb: Option<String>,

    /// How often to refresh, 0.2 to 60 seconds
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
}

fn interval(typed: &str) -> Result<Duration, String> {
    typed
        .parse()
        .ok()
        .filter(|seconds| (0.2..=60.0).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "it must be a number of seconds from 0.2 to 60".to_owned())
}

pub(super) fn run(args: &Args, client: Client, ui: &Ui) -> Result<Exit, CliError> {
    if !ui.watched() || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(CliError::NoTerminal);
    }
    let feed = Feed::start(client, args.interval)?;
    // The first answer before the screen is taken, so that "the agent is not
    // running" is an error like everywhere else.
    let (status, load_balancers) = feed.first()?;
    let mut view = View::new(args.lb.clone());
    view.show(status, load_balancers, Rates::default());

    let mut terminal = ratatui::try_init().map_err(CliError::Terminal)?;
    let ended = watch(&mut terminal, &feed, &mut view);
    ratatui::restore();
    ended.map(|()| Exit::Done)
}

fn watch(terminal: &mut DefaultTerminal, feed: &Feed, view: &mut View) -> Result<(), CliError> {
    let mut rates = rates::Meter::default();
    rates.measure(view.load_balancers(), Instant::now());
    loop {
        terminal
            .draw(|frame| view.draw(frame))
            .map_err(CliError::Terminal)?;
        if event::poll(TICK).map_err(CliError::Terminal)?
            && let Event::Key(key) = event::read().map_err(CliError::Terminal)?
            && obey(key, view)
        {
            return Ok(());
        }
        for news in feed.news() {
            match news {
                News::Sample(sample) => {
                    let (status, load_balancers) = *sample;
                    let rates = rates.measure(&load_balancers, Instant::now());
                    view.show(status, load_balancers, rates);
                }
                News::Silence(error) => view.silent(&error),
                News::Stop => return Ok(()),
            }
        }
    }
}

/// True when the key ends it.
fn obey(key: KeyEvent, view: &mut View) -> bool {
    if key.kind == KeyEventKind::Release {
        return false;
    }
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => return true,
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return true,
        KeyCode::Up | KeyCode::Char('k') => view.scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => view.scroll(1),
        KeyCode::PageUp => view.scroll(-10),
        KeyCode::PageDown | KeyCode::Char(' ') => view.scroll(10),
        KeyCode::Home => view.scroll(isize::MIN),
        KeyCode::End => view.scroll(isize::MAX),
        _ => {}
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_a_fifth_of_a_second_to_a_minute() {
        assert_eq!(interval("0.2"), Ok(Duration::from_millis(200)));
        assert_eq!(interval("60"), Ok(Duration::from_secs(60)));
        for wrong in ["0", "0.1", "61", "-1", "nan", "inf", "1s", ""] {
            interval(wrong).expect_err(wrong);
        }
    }
}
