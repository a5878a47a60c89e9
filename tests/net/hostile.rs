//! P10 from the other side: honest kernels at both ends, whose packets look like an
//! attacker's. None is refused.

use anyhow::Result;
use lb_userspace::model::Mode;
use tests::lab::{
    agent::{Ebb, Settings},
    conversation::Conversation,
};

use crate::scene::{in_each_mode, play};

in_each_mode! {
    a_client_that_comes_back_on_its_port_is_served_every_time,
}

/// No packet was refused or dropped so far.
fn nobody_was_refused(ebb: &Ebb<'_>) -> Result<()> {
    let verdicts = ebb.status()?.verdicts;
    let refused = |name: &str| {
        name.starts_with("reset") || name.starts_with("drop") || name.starts_with("unreachable")
    };
    assert!(
        !verdicts
            .iter()
            .any(|(name, count)| refused(name) && *count > 0),
        "{verdicts:?}"
    );
    Ok(())
}

fn a_client_that_comes_back_on_its_port_is_served_every_time(mode: Mode) -> Result<()> {
    play(mode, &Settings::default(), |site, ebb| {
        // Each time with other numbers, as a kernel chooses them.
        for visit in 0..20 {
            let talk = Conversation::open_from(&site.client, 41_000, site.talkers())?;
            talk.echo(&format!("visit {visit}"))?;
            nobody_was_refused(ebb)?;
            talk.abort()?;
        }
        Ok(())
    })
}
