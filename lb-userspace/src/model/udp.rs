//! How long UDP conversations are remembered for.

use std::time::Duration;

/// What a UDP flow may be silent for: before the backend's first answer, and
/// after it. Where only the client's side is seen (dsr, ipip), a conversation
/// that goes on counts as answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpTimeouts {
    pub unreplied: Duration,
    pub replied: Duration,
}

impl Default for UdpTimeouts {
    fn default() -> Self {
        Self {
            unreplied: Duration::from_secs(30),
            replied: Duration::from_secs(180),
        }
    }
}
