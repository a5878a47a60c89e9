//! What of this host is in ebb's way, and the command that mends it.
//!
//! - [`facts`]: what the host is like, asked once;
//! - [`mod@examine`]: what that means for ebb; pure.

mod examine;
mod facts;

use serde::Serialize;

pub use self::{
    examine::examine,
    facts::{Facts, InterfaceFacts},
};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at: `kernel`, `eth0: MTU`.
    pub what: String,
    pub verdict: Verdict,
    /// What was found, and where it is not good what follows from it.
    pub found: String,
    /// The command that mends it, where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
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
