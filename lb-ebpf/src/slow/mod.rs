//! Everything but the hit path: handshakes, ends, first packets, refusals.
//!
//! ```text
//! read ──→ connection ──→ (bind) ────────→ send
//!    └───→ icmp ─────────────────────────↗
//!          │  (either of them) ──────────→ answer
//!          └→ tunnel
//! ```
//!
//! Each of these is a function by itself to the verifier, which so never multiplies
//! what one of them can find by what the next one can do; see [`step`] for what goes
//! from one to the next.
//!
//! - [`mod@read`]: a packet of any shape.
//! - [`connection`]: a TCP or UDP packet, told what it is to its flow: to an
//!   established one ([`live`], [`renewal`]), to one that is not yet ([`opening`]), to
//!   none ([`admit`], [`refuse`]), and which port it gets from nat ([`bind`]).
//! - [`icmp`]: echo to a VIP, and errors that follow the flow they are about.
//! - [`tunnel`]: errors about a tunnel, told to the client whose packet was inside.
//! - [`act`]: sends the packet on, or the answer that it was turned into.

pub(crate) mod act;
mod admit;
pub(crate) mod bind;
pub(crate) mod connection;
pub(crate) mod icmp;
mod live;
mod opening;
pub(crate) mod read;
mod refuse;
mod renewal;
pub(crate) mod step;
pub(crate) mod tunnel;
