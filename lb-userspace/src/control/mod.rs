//! The control plane: one owner of the state, which everything else asks.
//!
//! - [`handle`]: the way in;
//! - [`error`]: why a command was refused;
//! - [`event`]: what happened;
//! - [`vip`]: who puts VIPs on interfaces.

pub mod backend;
pub mod drain;
pub mod edit;
pub mod error;
pub mod event;
pub mod handle;
pub mod merge;
pub mod plan;
pub mod state;
pub mod vip;

pub use error::{Error, Kind};
pub use event::Event;
pub use handle::{FlowQuery, Handle, HealthReport, Inbox, channel};
