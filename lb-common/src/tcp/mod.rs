//! TCP as who stands between its two ends sees it.
//!
//! - [`numbers`]: which sequence numbers are believed, and what is known of them.
//! - [`options`]: where the options of a header begin and end.
//! - [`state`]: the life of a flow, from what it opens by to what closes it.
//!
//! Anybody can send a packet with a flow's four-tuple on it. So nothing of a
//! packet is believed, neither its numbers nor its flags, unless an endpoint would
//! believe them, too. What is not believed is forwarded all the same: its receiver
//! knows better, and answers it (RFC 9293, section 3.10.7; RFC 5961).

pub mod numbers;
pub mod options;
pub mod state;

pub use numbers::{Numbers, Segment, after, is_lost, is_sent};
pub use state::{
    BACKEND_FIN, CLIENT_FIN, CLOSED, From, LINGER_MS, QUIET_MS, SETTLE_AFTER_MS, SETTLED_LINGER_MS,
    Says, Sight, WAS_RESET, both_closed, closes_last, is_closing, may_begin_anew, says,
};

/// Flags of a TCP header (RFC 9293, section 3.1), as the byte at offset 13.
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

#[cfg(test)]
mod tests;
