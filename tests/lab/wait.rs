//! Waiting for something to become true, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::interrupt;

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(5);

/// Asks `look` until it has something to return. `what` completes the sentence
/// "waited in vain for …".
pub fn until<T>(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if interrupt::noted() {
            bail!("interrupted");
        }
        if start.elapsed() >= within {
            bail!("waited {within:?} in vain for {what}");
        }
        thread::sleep(EVERY);
    }
}

/// As [`until`], for a plain yes.
pub fn until_true(
    what: &str,
    within: Duration,
    mut look: impl FnMut() -> Result<bool>,
) -> Result<()> {
    until(what, within, || Ok(look()?.then_some(())))
}

/// Lets time pass that the story itself needs, until `instant`.
pub fn till(instant: Instant) -> Result<()> {
    while let Some(left) = instant.checked_duration_since(Instant::now()) {
        if interrupt::noted() {
            bail!("interrupted");
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_with_what_it_found_or_says_what_it_missed() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            Ok((looks == 3).then_some("three"))
        });
        assert_eq!(found.unwrap(), "three");

        let missed = until_true("rain", Duration::from_millis(1), || Ok(false)).unwrap_err();
        assert_eq!(missed.to_string(), "waited 1ms in vain for rain");
    }
}
