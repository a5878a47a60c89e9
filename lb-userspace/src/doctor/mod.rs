//! What of this host is in ebb's way, and the command that mends it.
//!
//! - [`finding`]: what is said of each thing;
//! - [`mend`]: commands, word by word;
//! - [`facts`]: what the host is like, asked once;
//! - [`service`]: what the user that the service runs as will meet there, for root;
//! - [`mod@examine`]: what that means for ebb; pure.

mod examine;
mod facts;
mod finding;
mod mend;
mod service;

pub use self::{
    examine::examine,
    facts::{Facts, InterfaceFacts},
    finding::{Finding, Verdict},
    mend::{Mend, Words},
    service::ServiceFacts,
};
