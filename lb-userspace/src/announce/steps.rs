//! What is said of an address, and when. Pure.
//!
//! Before anything is said it is asked whether somebody else has the address. If
//! so, nothing is said: two hosts that both announce it would take each other's
//! clients away by turns. It is asked again, until nobody answers any more.

use std::time::Duration;

/// How often an address is announced, and how long after one another (RFC 5227,
/// section 1.1: `ANNOUNCE_NUM`, `ANNOUNCE_INTERVAL`, and one more).
const TIMES: u32 = 3;
const INTERVAL: Duration = Duration::from_secs(2);

/// How long an answer to a probe may take. RFC 5227 and RFC 4862 wait for a second
/// and more; a takeover does not, and an answer that comes later is heard as well.
const ANSWER: Duration = Duration::from_millis(250);

/// How long it is until somebody who has our address is asked again.
const AGAIN: Duration = Duration::from_secs(3);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask who has it.
    Probe,
    /// Somebody may have answered by now.
    Judge,
    /// Say that it is here, so many times.
    Announce { times: u32 },
    /// It has been said for the last time.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    Nothing,
    Probe,
    /// That it is here; and ask once more, since the answer to one probe may be lost.
    Announcement,
}

impl Step {
    /// What to say now, and the next step with the time until then. `claimed`:
    /// somebody else has said, since the last probe, that the address is his.
    pub(super) fn take(self, claimed: bool) -> (Say, Option<(Duration, Self)>) {
        match self {
            Self::Probe => (Say::Probe, Some((ANSWER, Self::Judge))),
            Self::Judge | Self::Announce { .. } | Self::End if claimed => {
                (Say::Nothing, Some((AGAIN, Self::Probe)))
            }
            Self::Judge => Self::Announce { times: TIMES }.take(false),
            Self::Announce { times: 0 | 1 } => (Say::Announcement, Some((ANSWER, Self::End))),
            Self::Announce { times } => {
                let next = Self::Announce { times: times - 1 };
                (Say::Announcement, Some((INTERVAL, next)))
            }
            Self::End => (Say::Nothing, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said, and when, in milliseconds, if others claim the address at
    /// these steps.
    fn play(claimed: impl Fn(usize) -> bool, steps: usize) -> Vec<(u128, Say)> {
        let mut said = Vec::new();
        let mut next = Some((Duration::ZERO, Step::Probe));
        let mut now = Duration::ZERO;
        for number in 0..steps {
            let Some((wait, step)) = next else { break };
            now += wait;
            let (say, then) = step.take(claimed(number));
            if say != Say::Nothing {
                said.push((now.as_millis(), say));
            }
            next = then;
        }
        said
    }

    #[test]
    fn an_address_that_nobody_has_is_announced_three_times() {
        let said = play(|_| false, 100);
        let announced = [250, 2250, 4250].map(|at| (at, Say::Announcement));
        assert_eq!(said[0], (0, Say::Probe));
        assert_eq!(said[1..], announced);
    }

    #[test]
    fn an_address_that_another_has_is_asked_for_and_never_announced() {
        let said = play(|_| true, 100);
        assert!(said.len() > 10);
        assert!(said.iter().all(|(_, say)| *say == Say::Probe), "{said:?}");
        assert_eq!(said[1].0, 3250);
    }

    #[test]
    fn an_address_that_another_gives_up_is_announced_then() {
        let said = play(|step| step < 4, 100);
        let announced = said.iter().filter(|(_, say)| *say == Say::Announcement);
        assert_eq!(announced.count(), 3);
    }

    #[test]
    fn who_claims_an_address_while_it_is_announced_has_the_last_word() {
        // Probe, judge and announce, then a claim.
        let said = play(|step| step >= 2, 10);
        let announced = said.iter().filter(|(_, say)| *say == Say::Announcement);
        assert_eq!(announced.count(), 1);
        assert!(said.len() > 3, "asked again: {said:?}");
    }
}
