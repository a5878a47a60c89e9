//! Health checks: they ask the backends and report; the control task decides.
//!
//! - [`target`]: what is asked, as in `HTTP:80/ping`;
//! - [`check`]: how often, how long, and how many results count;
//! - [`thresholds`]: the counting, pure;
//! - [`probe`]: one question and its answer, over TCP, TLS or HTTP;
//! - [`failure`]: why a check did not pass;
//! - [`roster`]: whom to check;
//! - [`scheduler`]: everybody, again and again;
//! - [`board`]: the last results.

pub mod board;
pub mod check;
pub mod failure;
mod pace;
pub mod probe;
pub mod roster;
pub mod scheduler;
pub mod target;
pub mod thresholds;

pub use board::Board;
pub use check::{BadCheck, HealthCheck};
pub use probe::Prober;
pub use roster::{Key, Roster, Subject};
pub use target::{Ask, BadTarget, Target};
pub use thresholds::{Standing, Tally, Thresholds};
