//! The admin API: HTTP/1.1 and JSON over a Unix socket, under `/v1`.
//!
//! - [`socket`]: the socket file: who may connect, and whether another agent
//!   has it;
//! - [`serve`]: the socket as a door, and its limits;
//! - [`routes`]: the endpoints, each a call of [`control::Handle`];
//! - [`events`]: the latest events, and the wait for the next ones;
//! - [`pace`]: how many requests a second;
//! - [`peer`]: who asks, by what the kernel says about the other end;
//! - [`body`]: what was sent, bounded in size and in time;
//! - [`refusal`]: every "no" as JSON with its status.
//!
//! [`control::Handle`]: crate::control::Handle

mod body;
mod events;
mod pace;
mod peer;
mod refusal;
mod routes;
mod serve;
mod socket;

pub(super) use self::{
    body::Sent,
    refusal::Refusal,
    routes::{Caller, for_console},
};
pub use self::{
    serve::Admin,
    socket::{Socket, SocketError},
};
