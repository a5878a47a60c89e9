//! Every action and every code, by boto3, whose own model says what an answer
//! is; and a drain under load, told by boto3 alone.

use anyhow::{Result, ensure};

use crate::door::{LOOPBACK, OUTSIDE, play};

#[test]
#[ignore = "needs root: cargo xtask test"]
fn every_action_is_answered() -> Result<()> {
    play(LOOPBACK, |door| {
        let printed = door.python("every_action.py", &[])?;
        ensure!(printed.contains("29 of 29 actions"), "{printed}");
        Ok(())
    })
}

#[test]
#[ignore = "needs root: cargo xtask test"]
fn every_mistake_has_its_code() -> Result<()> {
    play(LOOPBACK, |door| door.python("every_code.py", &[]).map(drop))
}

/// From another host, so every request is signed and verified.
#[test]
#[ignore = "needs root: cargo xtask test"]
fn not_one_request_fails_while_an_instance_is_deregistered() -> Result<()> {
    play(OUTSIDE, |door| {
        let printed = door.python("drain_under_load.py", &[])?;
        let tally = printed.lines().find(|line| line.starts_with("requests "));
        ensure!(
            tally.is_some_and(|line| line.ends_with(", failed 0")),
            "{printed}"
        );
        Ok(())
    })
}
