//! Time: what the agent measures with, and what it writes down.
//!
//! Deadlines run on the boot-time clock, which counts while the host sleeps
//! and which nobody can set. It begins anew at a reboot, so a stored deadline
//! has the boot's id and the wall clock beside it.

use std::{
    fs, io,
    ops::Add,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A point on the boot-time clock, in milliseconds since the boot. Before the
/// boot for what began under another one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub i64);

impl Moment {
    /// How long after `earlier` this is; nothing if it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(millis(duration)))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A point on the wall clock, in milliseconds since 1970 (UTC). For people and
/// for the time across a reboot; no deadline runs on it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wall(pub u64);

impl Wall {
    #[must_use]
    pub fn now() -> Self {
        Self::from_system(SystemTime::now()).unwrap_or_default()
    }

    /// `None` before 1970.
    #[must_use]
    pub fn from_system(time: SystemTime) -> Option<Self> {
        let since = time.duration_since(UNIX_EPOCH).ok()?;
        Some(Self(millis(since)))
    }
}

/// RFC 3339 in UTC, to the millisecond.
impl std::fmt::Display for Wall {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The year 9999 is as far as the format goes.
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(253_402_300_799_999));
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

/// What is written is not a time since 1970.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time")]
pub struct NotATime {
    pub text: String,
}

impl FromStr for Wall {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        humantime::parse_rfc3339(text)
            .ok()
            .and_then(Self::from_system)
            .ok_or_else(|| NotATime {
                text: text.to_owned(),
            })
    }
}

/// Both clocks, read together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    pub moment: Moment,
    pub wall: Wall,
}

impl Now {
    /// What the wall clock showed, or will show, at `moment`.
    #[must_use]
    pub fn wall_at(self, moment: Moment) -> Wall {
        let away = moment.0.saturating_sub(self.moment.0);
        Wall(self.wall.0.saturating_add_signed(away))
    }

    /// The moment at which the wall clock showed, or will show, `wall`.
    #[must_use]
    pub fn moment_at(self, wall: Wall) -> Moment {
        let away = i128::from(wall.0) - i128::from(self.wall.0);
        let away = i64::try_from(away).unwrap_or(i64::MIN);
        Moment(self.moment.0.saturating_add(away))
    }
}

/// Where the control thread reads the time; tests bring their own.
pub trait Clock: Send {
    fn now(&self) -> Now;
}

/// The host's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostClock;

impl Clock for HostClock {
    fn now(&self) -> Now {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Now {
            moment: Moment(time.tv_sec * 1000 + time.tv_nsec / 1_000_000),
            wall: Wall::now(),
        }
    }
}

/// What tells one boot of the host from another.
///
/// # Errors
/// When `/proc` is not there.
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_survives_being_written_and_read() {
        let wall = Wall(1_795_000_000_123);
        assert_eq!(wall.to_string(), "2026-11-18T11:06:40.123Z");
        assert_eq!(wall.to_string().parse(), Ok(wall));
        let before = "1969-12-31T23:59:59Z".parse::<Wall>().unwrap_err();
        assert!(before.to_string().ends_with("is not a time"), "{before}");
    }

    #[test]
    fn wall_and_boot_time_lead_to_each_other() {
        let now = Now {
            moment: Moment(5_000),
            wall: Wall(1_000_000),
        };
        assert_eq!(now.wall_at(Moment(6_000)), Wall(1_001_000));
        assert_eq!(now.moment_at(Wall(900_000)), Moment(-95_000));
        assert_eq!(now.wall_at(now.moment_at(Wall(3))), Wall(3));
    }

    #[test]
    fn the_boot_time_clock_goes_on() {
        let first = HostClock.now().moment;
        assert!(first > Moment(0));
        assert!(HostClock.now().moment >= first);
    }
}
