//! The control plane: one owner of the state, which everything else asks.
//!
//! - [`handle`]: the way in; [`error`]: why it may refuse;
//! - [`writer`]: the sole writer, its start and its timers; `answer`, `hear`,
//!   `drains`, `address`: what it does when it is asked, when the data plane
//!   says something, about drains, and about VIPs; `say`: what it tells;
//! - [`command`]: everything that can change the state; [`edit`]: the one way
//!   from a state to the next; `commit`: and from there into force;
//! - [`merge`]: from a document to commands; [`view`] and [`plan`]: from a state
//!   to what the kernel is to know, and from there to its changes; all pure;
//! - [`index`]: the state by what is asked of it at every turn;
//! - [`describe`]: the state, for others; `hook_tally`: what hooks have done;
//! - [`vip`]: who puts VIPs on interfaces; `guard`, `put_back`: and puts them back
//!   when somebody takes them away.

mod address;
mod answer;
pub mod command;
mod commit;
pub mod describe;
mod drains;
pub mod edit;
pub mod error;
mod guard;
pub mod handle;
mod hear;
mod hook_tally;
pub mod index;
pub mod merge;
pub mod plan;
mod put_back;
mod say;
pub mod view;
pub mod vip;
pub mod writer;

pub use error::{Error, Kind};
pub use handle::{FlowQuery, Handle, Inbox, Measured, channel};
pub use hook_tally::{HookTally, Tallies};
pub use writer::{Control, Parts};
