//! Every action and every code, by boto3, whose own model says what an answer
//! is; and a drain under load, told by boto3 alone.

use anyhow::{Context as _, Result, ensure};
use tests::report;

use crate::door::{LOOPBACK, OUTSIDE, play};

#[test]
#[ignore = "needs root: cargo xtask test"]
fn every_action_is_answered() -> Result<()> {
    play(LOOPBACK, |door| {
        let printed = door.python("every_action.py", &[])?;
        report::line(&format!("boto3: {}", printed.trim()));
        ensure!(printed.contains("29 of 29 actions"), "{printed}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn every_mistake_has_its_code() -> Result<()> {
    play(LOOPBACK, |door| door.python("every_code.py", &[]).map(drop))
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn an_instance_is_described_in_the_originals_words_all_its_life() -> Result<()> {
    play(LOOPBACK, |door| {
        door.python("every_state.py", &[]).map(drop)
    })
}

/// From another host, so every request is signed and verified.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn not_one_request_fails_while_an_instance_is_deregistered() -> Result<()> {
    play(OUTSIDE, |door| {
        let printed = door.python("drain_under_load.py", &[])?;
        let tally = printed.lines().find(|line| line.starts_with("requests "));
        let tally = tally.with_context(|| printed.clone())?;
        report::line(&format!(
            "boto3, an instance deregistered under load: {tally}"
        ));
        ensure!(tally.ends_with(", failed 0"), "{printed}");
        Ok(())
    })
}
