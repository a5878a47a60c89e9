//! The doors into the control task: the admin API and its shapes.

pub mod client;
pub mod types;
