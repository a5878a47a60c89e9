//! The doors into the control task: the admin API, its shapes, and its client.

pub mod admin;
pub mod client;
pub mod types;
