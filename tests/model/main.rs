//! The promises as far as control keeps them: the agent's sole writer over a
//! data plane and a store in memory, with a clock that the tests turn.
//!
//! - [`rig`]: what the tests hold;
//! - [`promises`]: a test for each promise and rule of a backend's life;
//! - [`memory`]: restarts, crashes, reboots (P7);
//! - [`kill`]: SIGKILL at any moment, with the real store;
//! - [`faults`]: a full disk, a kernel that refuses, a backend out of reach;
//! - [`health`]: what health checks report, and what follows;
//! - [`documents`]: reload and apply;
//! - [`scale`]: what a command costs among a thousand load balancers;
//! - [`limits`]: full tables, through every door;
//! - [`turns`]: whose turn it is;
//! - [`vips`]: addresses on interfaces;
//! - [`anything`]: whatever is asked, in any order, the promises hold.

#![expect(
    clippy::unwrap_used,
    reason = "the lint does not see that a test's helpers are tests"
)]

mod anything;
mod documents;
mod faults;
mod health;
mod kill;
mod limits;
mod memory;
mod promises;
mod rig;
mod scale;
mod turns;
mod vips;
