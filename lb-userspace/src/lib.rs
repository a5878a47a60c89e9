//! The agent of ebb, as a library that its binary and the tests use.

pub mod agent;
mod announce;
pub mod api;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod decap;
pub mod doctor;
pub mod health;
pub mod hooks;
pub mod lock;
pub mod logging;
pub mod netlink;
mod notify;
pub mod object;
pub mod outbound;
mod packet_socket;
mod seldom;
pub mod store;
pub mod suggest;
pub mod tables;
