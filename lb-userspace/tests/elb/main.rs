//! The Query API over HTTP, on the real control plane and a data plane in
//! memory: what each action does and answers, each code once, and bad input.

#![expect(
    clippy::unwrap_used,
    reason = "the lint does not see that a test's helpers are tests"
)]

mod actions;
mod bad_input;
mod codes;
mod draining;
mod signatures;
mod world;
