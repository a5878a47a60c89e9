//! The control plane: one owner of the state, which everything else asks.
//!
//! - [`handle`]: the way in; [`error`]: why it may refuse;
//! - [`writer`], `answer`, `address`: the sole writer, its answers, its care
//!   for VIPs;
//! - [`state`]: what it owns; [`edit`]: changes to a draft of it; [`merge`]:
//!   from a document to such changes; all pure;
//! - [`backend`], [`drain`]: a backend's life, and how it leaves; pure;
//! - [`plan`]: from the old view and the new one to the kernel's changes; pure;
//! - [`describe`], [`event`]: the state, and what happens to it, for others;
//! - [`vip`]: who puts VIPs on interfaces.

mod address;
mod answer;
pub mod backend;
pub mod describe;
pub mod drain;
pub mod edit;
pub mod error;
pub mod event;
pub mod handle;
pub mod merge;
pub mod plan;
pub mod state;
pub mod vip;
pub mod writer;

pub use error::{Error, Kind};
pub use event::Event;
pub use handle::{FlowQuery, Handle, HealthReport, Inbox, Measured, channel};
pub use writer::{Control, Parts};
