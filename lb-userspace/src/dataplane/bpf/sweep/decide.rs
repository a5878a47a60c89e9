//! What becomes of a flow, from what its entry says and how long it was silent.
//! Pure: the time comes in as the length of the silence.

use lb_common::{
    abi::flow::{HALF_OPEN_TICKS, SETTLED, ticks},
    tcp::{self, CLOSED, LINGER_MS, QUIET_MS, SETTLE_AFTER_MS, SETTLED_LINGER_MS},
};

use super::super::{rules::LbRule, shared::Crowd};
use crate::model::{Mode, Protocol};

const LINGER_TICKS: u32 = ticks(LINGER_MS);
const QUIET_TICKS: u32 = ticks(QUIET_MS);
const SETTLE_AFTER_TICKS: u32 = ticks(SETTLE_AFTER_MS);
const SETTLED_LINGER_TICKS: u32 = ticks(SETTLED_LINGER_MS);

/// How long what has ended lingers when the table is short of room, or of ports: its backend's
/// last acknowledgement, and no more.
const SHORT_LINGER_TICKS: u32 = ticks(500);

/// How long a handshake may be silent where ports are wanted back.
const SHORT_HANDSHAKE: u32 = ticks(2_000);

/// How long a connection that has carried nothing yet may be silent when the table fills.
const BARE: u32 = ticks(5_000);

/// Where the entry lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    HalfOpen,
    Established,
}

/// A flow as its forward entry has it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    pub(super) stage: Stage,
    pub(super) protocol: Protocol,
    pub(super) state: u32,
    /// Ticks since a packet of either direction was seen.
    pub(super) silent: u32,
    /// Its backend disowned it, or is gone.
    pub(super) disowned: bool,
    /// Its backend takes no new flows: somebody may be waiting for the last of
    /// the old ones to end.
    pub(super) draining: bool,
    /// Its backend fails, and no conversation is to wait for it.
    pub(super) ends_udp: bool,
    /// The client has sent more than what opens a connection.
    pub(super) is_more_than_a_handshake: bool,
    /// Few ports are left where it has one (nat).
    pub(super) short_of_ports: bool,
    /// How full the table is: what has ended, or never began, must make room.
    pub(super) crowd: Crowd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    Keep,
    /// It has ended; the entry lingers on.
    Settle,
    /// Out of the table, without a word to anybody.
    Forget,
    /// Out of the table, with a RST to both ends.
    Reset,
}

/// What becomes of the flow.
pub(super) fn decide(facts: &Facts, timers: &LbRule) -> Decision {
    match (facts.stage, facts.protocol) {
        (Stage::HalfOpen, protocol) => {
            let limit = match protocol {
                Protocol::Tcp if facts.short_of_ports => SHORT_HANDSHAKE,
                Protocol::Tcp => HALF_OPEN_TICKS,
                Protocol::Udp => timers.udp_unreplied,
            };
            let ends = facts.ends_udp && protocol == Protocol::Udp;
            forget_if(facts.disowned || ends || facts.silent >= limit)
        }
        (Stage::Established, _) if facts.state & CLOSED != 0 => {
            forget_if(facts.disowned || facts.silent >= linger(facts))
        }
        // Established is what was answered, or has gone on for a while.
        (Stage::Established, Protocol::Udp) => {
            forget_if(facts.disowned || facts.ends_udp || facts.silent >= timers.udp_replied)
        }
        (Stage::Established, Protocol::Tcp) => established_tcp(facts, timers),
    }
}

fn established_tcp(facts: &Facts, timers: &LbRule) -> Decision {
    if facts.disowned || facts.silent >= timers.idle {
        return Decision::Reset;
    }
    let is_bare = !facts.is_more_than_a_handshake && facts.silent >= BARE;
    if is_bare && facts.crowd >= Crowd::Filling && !facts.draining {
        // Where one side is seen, the next packet goes by the Maglev table, to the same
        // backend; and whoever has sent this flow's packets may be nobody.
        return match timers.mode {
            Mode::Nat => Decision::Reset,
            Mode::Dsr | Mode::Ipip => Decision::Forget,
        };
    }
    if is_closing(facts.state, timers.mode) {
        // Only where somebody waits is a moment's silence taken for the end:
        // the backend may still be at work for a client that has said its
        // last word.
        let somebody_waits = facts.draining || facts.crowd == Crowd::Short;
        let long_enough = if somebody_waits {
            QUIET_TICKS
        } else {
            SETTLE_AFTER_TICKS
        };
        if facts.silent >= long_enough {
            return Decision::Settle;
        }
    }
    Decision::Keep
}

/// How long the entry of a closed flow is kept.
fn linger(facts: &Facts) -> u32 {
    if facts.crowd == Crowd::Short || facts.short_of_ports {
        SHORT_LINGER_TICKS
    } else if facts.state & SETTLED != 0 {
        SETTLED_LINGER_TICKS
    } else {
        LINGER_TICKS
    }
}

/// The client has sent its FIN or a RST, and what the backend does is not seen.
pub(super) fn is_closing(state: u32, mode: Mode) -> bool {
    !mode.sees_both_sides() && tcp::is_closing(state)
}

fn forget_if(condition: bool) -> Decision {
    if condition {
        Decision::Forget
    } else {
        Decision::Keep
    }
}

#[cfg(test)]
mod tests;
