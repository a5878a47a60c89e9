//! The doors into the control task: the admin API and its client, the Classic
//! ELB's Query API, and the console.
//!
//! - [`admin`], [`client`]: JSON over a Unix socket;
//! - [`elb`]: what the original's clients speak;
//! - [`metrics`]: for Prometheus; [`console`]: a web page;
//! - [`listening`], [`connections`], [`seats`], [`party`], [`attended`],
//!   [`body`], [`deadline`]: what all doors do with connections: who gets a place, and how
//!   slow they may be;
//! - [`host`]: by which names this host is asked;
//! - [`ends`], [`operators`]: who comes in by TCP, and whether they may change
//!   something without an access key;
//! - [`tries`]: how often somebody may try whether they have one.

pub mod admin;
mod attended;
mod body;
pub mod client;
mod connections;
pub mod console;
mod deadline;
pub mod elb;
mod ends;
mod host;
mod listening;
pub mod metrics;
mod operators;
mod party;
mod seats;
mod tries;

pub use operators::Operators;
