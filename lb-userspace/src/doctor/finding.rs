//! What is said of a thing that was looked at.

use serde::Serialize;

use super::mend::Mend;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `kernel`, `eth0: MTU`.
    pub what: String,
    pub verdict: Verdict,
    /// What was found, and where it is not good what follows from it.
    pub found: String,
    /// What mends it, where a command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<Mend>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Good,
    /// ebb runs, with something that is worse than it could be.
    Warning,
    /// ebb does not run, or does not forward.
    Bad,
}

pub(super) fn good(what: impl Into<String>, found: impl Into<String>) -> Finding {
    Finding {
        what: what.into(),
        verdict: Verdict::Good,
        found: found.into(),
        mend: None,
    }
}

pub(super) fn wrong(
    verdict: Verdict,
    what: impl Into<String>,
    found: impl Into<String>,
    mend: Option<Mend>,
) -> Finding {
    Finding {
        what: what.into(),
        verdict,
        found: found.into(),
        mend,
    }
}
