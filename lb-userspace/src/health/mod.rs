//! Health checks: they ask the backends and report; the control task decides.
//!
//! - [`thresholds`]: the counting, pure;
//! - [`probe`]: one question and its answer, over TCP, TLS or HTTP;
//! - [`report`]: who is told what they add up to;
//! - [`failure`]: why a check did not pass;
//! - [`scheduler`]: everybody, again and again;
//! - `places`: whose turn it is, when many checks hang;
//! - [`board`]: the last results.

pub mod board;
pub mod failure;
mod pace;
mod places;
pub mod probe;
pub mod report;
pub mod scheduler;
pub mod thresholds;

pub use board::Board;
pub use probe::Prober;
pub use report::{NotTaken, Reports};
pub use thresholds::Tally;
