//! P9: every packet is counted under exactly one verdict; opened − closed is
//! the number of flows in the table.

use std::{net::UdpSocket, time::Duration};

use anyhow::{Error, Result, ensure};
use aya::maps::{Map, MapData, PerCpuArray, PerCpuValues};
use lb_common::{abi::counter::BackendCounters, tcp::SETTLE_AFTER_MS};
use lb_userspace::{model::Mode, wire::Flows};
use tests::lab::{
    agent::{Ebb, LB, Settings},
    conversation::Conversation,
    curl, wait,
};

use crate::scene::{SOON, in_each_mode, pins, play};

in_each_mode! {
    opened_minus_closed_is_the_flows_in_the_table,
    what_a_killed_agent_did_not_note_is_noted_by_the_next,
}

fn opened_minus_closed_is_the_flows_in_the_table(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        curl::many(&site.client, &site.url("/"), 200)?;
        // Where only one side is seen, silence tells the end.
        wait_books_within(SOON + Duration::from_millis(SETTLE_AFTER_MS), ebb, 0)?;
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

fn what_a_killed_agent_did_not_note_is_noted_by_the_next(mode: Mode) -> Result<()> {
    const UNNOTED: u64 = 5;
    play(mode, &Settings::default(), |site, ebb| {
        let talk = Conversation::open(&site.client, site.talkers())?;
        wait_books(ebb, 1)?;
        ebb.crash()?;
        // As if so many more had been open, and taken out of the table just before.
        let map = MapData::from_pin(pins(site.pins())?.join("BACKEND_COUNTERS"))?;
        let mut counters: PerCpuArray<_, BackendCounters> = Map::PerCpuArray(map).try_into()?;
        let opened = |rows: &[BackendCounters]| rows.iter().map(|row| row.opened).sum::<u64>();
        for index in 0..counters.len() {
            let mut rows = counters.get(&index, 0)?.to_vec();
            if opened(&rows) > 0 {
                rows[0].opened += UNNOTED;
                counters.set(index, PerCpuValues::try_from(rows)?, 0)?;
            }
        }
        ebb.launch()?;
        // Two rounds of the sweeper have to find the same.
        wait_books_within(SOON * 5, ebb, 1)?;
        talk.echo("still here")?;
        ensure!(
            !ebb.process()?.printed().contains("books do not balance"),
            "that is no fault of this agent"
        );
        // And so the drain ends when the last flow does.
        ebb.deregister(&talk.backend, &[])?;
        let backend = talk.backend.clone();
        drop(talk);
        ebb.wait_gone(&backend, SOON).map(drop)
    })
}

/// An interface at XDP has a program at TC as well, for what XDP cannot send: the loopback
/// device is at TC.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn what_xdp_passes_to_tc_is_counted_once() -> Result<()> {
    /// Far more than the host hears besides, of its neighbours and backends.
    const SENT: u64 = 2_000;
    play(Mode::Nat, &Settings::default(), |site, ebb| {
        let passed = || Ok::<_, Error>(ebb.status()?.verdicts["pass_not_ours"]);
        let before = passed()?;
        site.client.enter(|| -> Result<()> {
            let socket = UdpSocket::bind((site.client.v4, 0))?;
            for _ in 0..SENT {
                // Nobody listens there: what the socket is told of that is no matter.
                let _ = socket.send_to(b"not for a VIP", (site.balancer.v4, 9));
            }
            Ok(())
        })??;
        wait::until_true("the datagrams to be counted", SOON, || {
            Ok(passed()? >= before + SENT)
        })?;
        let counted = passed()? - before;
        ensure!(counted < SENT * 3 / 2, "{counted} for {SENT}");
        Ok(())
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
