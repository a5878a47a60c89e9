//! P9: every packet is counted under exactly one verdict; opened − closed is
//! the number of flows in the table.

use std::time::Duration;

use anyhow::Result;
use lb_common::tcp::SETTLES_MS;
use lb_userspace::api::types::Flows;
use lb_userspace::dataplane::Mode;
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::Conversation,
    curl, wait,
};

use crate::scene::{SOON, in_each_mode, play};

in_each_mode! {
    opened_minus_closed_is_the_flows_in_the_table,
}

fn opened_minus_closed_is_the_flows_in_the_table(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        curl::many(&site.client, &site.url("/"), 200)?;
        // Where only one side is seen, silence tells the end.
        wait_books_within(SOON + Duration::from_millis(SETTLES_MS), ebb, 0)?;
        let talks = (0..20)
            .map(|_| Conversation::open(&site.client, site.talkers()))
            .collect::<Result<Vec<_>>>()?;
        wait_books(ebb, 20)?;
        ebb.deregister(&talks[0].backend, &["--now"])?;
        let others = talks
            .iter()
            .filter(|talk| talk.backend != talks[0].backend)
            .count();
        wait_books(ebb, others as u64)?;
        drop(talks);
        wait_books(ebb, 0)
    })
}

/// Waits until counters and table agree that there are so many flows.
fn wait_books(ebb: &Ebb<'_>, flows: u64) -> Result<()> {
    wait_books_within(SOON, ebb, flows)
}

fn wait_books_within(patience: Duration, ebb: &Ebb<'_>, flows: u64) -> Result<()> {
    wait::until_true(&format!("{flows} flows in the books"), patience, || {
        let counted: u64 = ebb
            .load_balancer()?
            .backends
            .iter()
            .map(|backend| backend.flows)
            .sum();
        let listed: Flows = ebb.json(&["flows", LB, "--limit", "1000"])?;
        Ok(counted == flows && listed.total == flows && listed.flows.len() as u64 == flows)
    })
}
