//! What is known of the way to a client beyond our own links (nat).

use super::{flow::ticks, plain::plain};

/// The longest datagram that gets through to a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Path {
    pub mtu: u32,
    /// When it was learnt, in ticks.
    pub seen: u32,
}

plain!(Path);

/// For how long it is believed: ten minutes, as endpoints do (RFC 1191, section 6.3).
pub const PATH_TICKS: u32 = ticks(600_000);
