//! P6: a flood of half-open flows never evicts an established one; a full
//! table refuses new flows, and never drops old ones.

use anyhow::Result;
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{Ebb, Settings},
    conversation::Conversation,
    site::Site,
};

use crate::{
    raw::Syns,
    scene::{SOON, in_each_mode, play},
};

in_each_mode! {
    a_flood_of_syns_evicts_nobody,
    a_full_table_keeps_the_old_flows_and_loses_no_new_one_in_silence,
}

fn a_flood_of_syns_evicts_nobody(mode: Mode) -> Result<()> {
    // Fewer than the flood has.
    let settings = Settings {
        half_open: 1024,
        ..Settings::default()
    };
    play(mode, &settings, |site, _| {
        let talks = (0..50)
            .map(|_| Conversation::open(&site.client, site.talkers()))
            .collect::<Result<Vec<_>>>()?;
        // From ports that nobody has: the client's kernel resets whatever
        // answer comes, as that of a forged address would not.
        let syns = Syns::open(&site.client)?;
        for port in 1024..21_024 {
            if talks.iter().all(|talk| talk.local.port() != port) {
                syns.send(port, site.talkers())?;
            }
        }
        for talk in &talks {
            talk.echo("still here")?;
        }
        Conversation::open(&site.client, site.talkers())?.echo("and a new one")
    })
}

fn a_full_table_keeps_the_old_flows_and_loses_no_new_one_in_silence(mode: Mode) -> Result<()> {
    const FLOWS: u32 = 1024;
    let settings = Settings {
        flows: FLOWS,
        ..Settings::default()
    };
    if !mode.sees_both_sides() {
        return play(mode, &settings, |site, ebb| {
            all_are_served(FLOWS, site, ebb)
        });
    }
    play(mode, &settings, |site, ebb| {
        let mut talks = Vec::new();
        let refused = loop {
            match Conversation::open(&site.client, site.talkers()) {
                Ok(talk) => talks.push(talk),
                Err(error) => break error,
            }
            assert!(talks.len() <= FLOWS as usize, "the table has no end");
        };
        assert!(
            talks.len() >= FLOWS as usize / 2 - 16,
            "only {} fit",
            talks.len()
        );
        for talk in &talks {
            talk.echo("still here")?;
        }
        let status = ebb.status()?;
        let full: u64 = status
            .verdicts
            .iter()
            .filter(|(name, _)| name.contains("full"))
            .map(|(_, count)| count)
            .sum();
        assert!(
            full > 0,
            "the refusal ({refused:#}) is not counted: {:?}",
            status.verdicts
        );
        // Room again: new flows again.
        drop(talks);
        tests::lab::wait::until_true("room in the table", SOON * 5, || {
            Ok(Conversation::open(&site.client, site.talkers()).is_ok())
        })
    })
}

/// Where the Maglev table says enough to forward a packet, nobody is refused.
fn all_are_served(room: u32, site: &Site, ebb: &Ebb<'_>) -> Result<()> {
    let talks = (0..room + room / 16)
        .map(|_| Conversation::open(&site.client, site.talkers()))
        .collect::<Result<Vec<_>>>()?;
    for talk in &talks {
        talk.echo("still here")?;
    }
    let verdicts = ebb.status()?.verdicts;
    let refused = |name: &str| name.starts_with("reset") || name.contains("full");
    assert!(
        !verdicts
            .iter()
            .any(|(name, count)| refused(name) && *count > 0),
        "{verdicts:?}"
    );
    Ok(())
}
