//! When a state was written, and what has become of its times since then.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Moment, NotATime, Now, Wall},
    state::State,
};

/// When, on which clock: a moment means nothing under another boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Document", into = "Document")]
pub struct Written {
    pub boot: String,
    pub moment: Moment,
    pub time: Wall,
}

/// As it lies on disk.
#[derive(Serialize, Deserialize)]
struct Document {
    boot: String,
    /// Milliseconds on the clock of that boot.
    moment: i64,
    /// RFC 3339, UTC.
    time: String,
}

impl From<Written> for Document {
    fn from(written: Written) -> Self {
        Self {
            boot: written.boot,
            moment: written.moment.0,
            time: written.time.to_string(),
        }
    }
}

impl TryFrom<Document> for Written {
    type Error = NotATime;

    fn try_from(written: Document) -> Result<Self, NotATime> {
        Ok(Self {
            boot: written.boot,
            moment: Moment(written.moment),
            time: written.time.parse()?,
        })
    }
}

impl Written {
    /// Puts the times of `state` on the clock of the boot `boot`.
    pub fn bring(&self, state: &mut State, boot: &str, now: Now) {
        if self.boot == boot {
            return;
        }
        tracing::info!(
            "the host has been rebooted since the state was saved at {}",
            self.time
        );
        let then = Now {
            moment: self.moment,
            wall: self.time,
        };
        // A wall clock that was set back must not bring old times back.
        let now = Now {
            wall: now.wall.max(then.wall),
            ..now
        };
        state.rebase(|moment| now.moment_at(then.wall_at(moment)));
    }
}
