//! The control plane: one owner of the state, which everything else asks.
//!
//! - [`handle`]: the way in; [`error`]: why it may refuse;
//! - [`writer`], `answer`, `address`: the sole writer, its answers, its care
//!   for VIPs;
//! - [`state`]: what it owns; [`edit`]: changes to a draft of it; [`merge`]:
//!   from a document to such changes; all pure;
//! - [`backend`]: a backend's life; pure;
//! - [`plan`]: from the old view and the new one to the kernel's changes; pure;
//! - [`describe`]: the state, for others; `hook_tally`: what hooks have done;
//! - [`vip`]: who puts VIPs on interfaces.

mod address;
mod answer;
pub mod backend;
pub mod describe;
pub mod edit;
pub mod error;
pub mod handle;
mod hook_tally;
pub mod merge;
pub mod plan;
pub mod state;
pub mod vip;
pub mod writer;

pub use error::{Error, Kind};
pub use handle::{FlowQuery, Handle, Inbox, Measured, channel};
pub use hook_tally::{HookTally, Tallies};
pub use writer::{Control, Parts};
