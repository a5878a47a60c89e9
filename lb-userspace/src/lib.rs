//! The agent of ebb, as a library that its binary and the tests use.
//!
//! The house has floors, and nothing imports a folder above its own. From the
//! ground up:
//!
//! 1. leaves that know nothing of ebb: [`clock`], [`suggest`], [`lock`],
//!    [`logging`], [`object`], `bpffs`, `notify`, `packet_socket`, `root_cause`;
//! 2. [`model`], the words of everything above; [`wire`], the same as JSON;
//! 3. [`netlink`] and `announce`, [`outbound`]: the host, and other hosts;
//! 4. [`dataplane`], the packet path; [`config`], what the file says;
//!    [`health`], what the checks find;
//! 5. [`state`]; on it [`store`], the disk, and on both [`control`], the one
//!    writer;
//! 6. [`hooks`], [`api`], [`doctor`]: the doors and what is told outside;
//! 7. [`agent`] and [`decap`], which are run; [`cli`], which runs them.

pub mod agent;
mod announce;
pub mod api;
mod bpffs;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod decap;
pub mod doctor;
#[cfg(test)]
mod golden;
pub mod health;
pub mod hooks;
pub mod lock;
pub mod logging;
pub mod model;
pub mod netlink;
mod notify;
pub mod object;
pub mod outbound;
mod packet_socket;
mod root_cause;
mod seldom;
pub mod state;
pub mod store;
pub mod suggest;
pub mod wire;
