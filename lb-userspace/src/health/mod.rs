//! Health checks: they ask the backends and report; the control task decides.
//!
//! - [`target`]: what is asked, as in `HTTP:80/ping`;
//! - [`check`]: how often, how long, and how many results count;
//! - [`thresholds`]: the counting, pure;
//! - [`failure`]: why a check did not pass;
//! - [`probe`]: one question and its answer, over TCP, TLS or HTTP.

pub mod check;
pub mod failure;
pub mod probe;
pub mod target;
pub mod thresholds;

pub use check::{BadCheck, HealthCheck};
pub use target::{Ask, BadTarget, Target};
pub use thresholds::{Standing, Tally, Thresholds};
