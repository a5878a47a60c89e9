//! What strangers do at the doors, done: nobody shuts one, for the others or
//! for the next.

#![expect(
    clippy::unwrap_used,
    reason = "the lint does not see that a test's helpers are tests"
)]

mod crowds;
mod logins;
mod manners;
mod operators;
mod rig;
mod scrapers;
mod signatures;
mod signed;
