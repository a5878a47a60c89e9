//! How long UDP conversations are remembered for, and what ends them.

use std::time::Duration;

/// What a UDP flow may be silent for, before the backend's first answer and
/// after it; and whether it outlives its backend. Where only the client's side is seen (dsr, ipip), a conversation
/// that goes on counts as answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UdpSettings {
    pub unreplied: Duration,
    pub replied: Duration,
    /// What becomes of the conversations of a backend that fails: a client that never
    /// changes its port would be held to it for ever.
    pub on_unhealthy: OnUnhealthy,
}

/// What becomes of a flow when its backend fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnUnhealthy {
    /// It is forgotten: the client's next datagram goes to another backend.
    #[default]
    Close,
    /// It stays with its backend, which may come back.
    Keep,
}

impl Default for UdpSettings {
    fn default() -> Self {
        Self {
            unreplied: Duration::from_secs(30),
            replied: Duration::from_secs(180),
            on_unhealthy: OnUnhealthy::default(),
        }
    }
}
