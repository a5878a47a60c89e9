//! How a backend is shown: a word for its state, a note, a row of a table.

use std::time::Duration;

use anstyle::Style;

use crate::{
    cli::{
        table::{Cell, Table},
        ui::{BAD, CAUTION, FAINT, GOOD},
        words,
    },
    wire::{Backend, Drain, DrainOutcome, LastCheck, State},
};

/// One word for where a backend is in its life.
pub(in crate::cli) fn state(backend: &Backend) -> (&str, Style) {
    match (backend.registration.as_str(), backend.state) {
        ("draining", _) => ("draining", CAUTION),
        ("closing", _) => ("closing", CAUTION),
        ("gone", _) => ("gone", FAINT),
        (_, State::InService) if backend.takes_new => ("in service", GOOD),
        (_, State::InService) => ("in service", BAD),
        (_, State::OutOfService) => ("out of service", BAD),
        (_, State::Unknown) => ("unknown", BAD),
    }
}

/// Why it is there, or how far it got.
pub(in crate::cli) fn note(backend: &Backend) -> String {
    let mut notes = Vec::new();
    if let Some(drain) = &backend.drain {
        notes.push(progress(drain));
    } else if !matches!(backend.description.as_str(), "" | "N/A") {
        notes.push(backend.description.trim_end_matches('.').to_owned());
    }
    if let Some(LastCheck {
        error: Some(error), ..
    }) = &backend.last_check
    {
        notes.push(format!("last check: {error}"));
    }
    if backend.health_by_hand {
        notes.push(format!("set {} by hand", backend.health));
    }
    if let Some(error) = &backend.next_hop_error {
        notes.push(format!("gets no new flows, unreachable: {error}"));
    }
    notes.join("; ")
}

/// How far a drain got, or how it ended.
pub(super) fn progress(drain: &Drain) -> String {
    match &drain.outcome {
        None => format!(
            "{} of {} left, {} to the deadline",
            words::count(drain.flows_left),
            words::counted(drain.flows_at_start.max(drain.flows_left), "flow"),
            words::duration(drain.seconds_left.into())
        ),
        Some(DrainOutcome::Ended) => "every flow ended by itself".to_owned(),
        Some(DrainOutcome::Cut { flows: 1 }) => "1 flow was cut".to_owned(),
        Some(DrainOutcome::Cut { flows }) => format!("{} flows were cut", words::count(*flows)),
        Some(DrainOutcome::Cancelled) => "the drain was cancelled".to_owned(),
    }
}

pub(in crate::cli) fn table(backends: &[Backend]) -> String {
    let facts = |backend: &Backend| {
        let (word, style) = state(backend);
        [
            backend.id.as_str().into(),
            backend.address.to_string().into(),
            backend.weight.to_string().into(),
            Cell::styled(word, style),
            words::count(backend.flows).into(),
        ]
    };
    let [id, address, weight, is, flows] = ["BACKEND", "ADDRESS", ">WEIGHT", "STATE", ">FLOWS"];
    if backends.iter().all(|backend| backend.last_check.is_none()) {
        let mut table = Table::new([id, address, weight, is, flows, "NOTE"]);
        for backend in backends {
            let [id, address, weight, is, flows] = facts(backend);
            table.row([id, address, weight, is, flows, note(backend).into()]);
        }
        return table.render();
    }
    let mut table = Table::new([id, address, weight, is, flows, "LAST CHECK", "NOTE"]);
    for backend in backends {
        let [id, address, weight, is, flows] = facts(backend);
        let last = backend.last_check.as_ref();
        let last = last.map_or_else(|| "none yet".into(), last_check);
        table.row([id, address, weight, is, flows, last, note(backend).into()]);
    }
    table.render()
}

/// When the last check was, how it ended and how long it took.
fn last_check(last: &LastCheck) -> Cell {
    let took = Duration::from_micros(last.took_us);
    let (word, style) = match last.error {
        None => ("passed", GOOD),
        Some(_) => ("failed", BAD),
    };
    Cell::styled(format!("{} {word} in {took:.1?}", last.time), style)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::samples;

    #[test]
    fn the_table_says_where_each_backend_is_and_why() {
        assert_eq!(
            samples::plain(&table(&samples::load_balancer().backends)),
            "\
BACKEND  ADDRESS    WEIGHT  STATE           FLOWS  NOTE
web-1    10.0.1.11       1  draining           12  12 of 40 flows left, 4m32s to the deadline
web-2    10.0.1.12       3  in service      1,134
web-3    10.0.1.13       1  out of service      0  Instance has failed at least the UnhealthyThreshold number of health checks consecutively; set unhealthy by hand
web-4    10.0.1.14       1  in service          0  gets no new flows, unreachable: no answer to ARP on eth1
"
        );
    }
}
