//! The admin API and the command line, through a real socket and the real
//! binary, on a control task that answers as a test tells it.

#![expect(
    clippy::unwrap_used,
    reason = "the lint does not see that a test's helpers are tests"
)]

mod cli;
mod events;
mod fake;
mod fuzz;
mod limits;
mod requests;
mod terminal;
mod wait;
mod whole;
