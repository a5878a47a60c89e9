//! What becomes of a flow, from what its entry says and how long it was silent.
//! Pure: the time comes in as the length of the silence.

use lb_common::{
    abi::flow::{ANSWERED, DISOWNED, HALF_OPEN_TICKS, SETTLED, ticks},
    tcp::{CLIENT_FIN, CLOSED, HALF_CLOSED_MS, LINGER_MS, QUIET_MS, SETTLES_MS},
};

use super::super::rules::LbRule;
use crate::dataplane::{Mode, Protocol};

const LINGER: u32 = ticks(LINGER_MS);
const QUIET: u32 = ticks(QUIET_MS);
const SETTLES: u32 = ticks(SETTLES_MS);
const HALF_CLOSED: u32 = ticks(HALF_CLOSED_MS);

/// How long what has ended lingers when the table is short of room: its backend's
/// last acknowledgement, and no more.
const SHORT_LINGER: u32 = ticks(500);

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
    /// The table is short of room: what has ended must make some.
    pub(super) crowded: bool,
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
                Protocol::Tcp => HALF_OPEN_TICKS,
                Protocol::Udp => timers.udp_unreplied,
            };
            forget_if(facts.disowned || facts.silent >= limit)
        }
        (Stage::Established, _) if facts.state & CLOSED != 0 => {
            forget_if(facts.disowned || facts.silent >= linger(facts))
        }
        (Stage::Established, Protocol::Udp) => {
            let limit = if facts.state & ANSWERED != 0 {
                timers.udp_replied
            } else {
                timers.udp_unreplied
            };
            forget_if(facts.disowned || facts.silent >= limit)
        }
        (Stage::Established, Protocol::Tcp) => established_tcp(facts, timers),
    }
}

fn established_tcp(facts: &Facts, timers: &LbRule) -> Decision {
    if facts.disowned || facts.silent >= timers.idle {
        return Decision::Reset;
    }
    if is_closing(facts.state, timers.mode) {
        // Only where somebody waits is a moment's silence taken for the end:
        // the backend may still be at work for a client that has said its
        // last word.
        let somebody_waits = facts.draining || facts.crowded;
        if facts.silent >= if somebody_waits { QUIET } else { SETTLES } {
            return Decision::Settle;
        }
    }
    Decision::Keep
}

/// How long the entry of a closed flow is kept.
fn linger(facts: &Facts) -> u32 {
    if facts.crowded {
        SHORT_LINGER
    } else if facts.state & SETTLED != 0 {
        HALF_CLOSED
    } else {
        LINGER
    }
}

/// The client has sent its FIN, and what the backend does is not seen.
pub(super) fn is_closing(state: u32, mode: Mode) -> bool {
    mode != Mode::Nat && state & (CLIENT_FIN | CLOSED) == CLIENT_FIN
}

/// The flow's own mark that it was taken from its backend.
pub(super) fn is_marked(state: u32) -> bool {
    state & DISOWNED != 0
}

fn forget_if(condition: bool) -> Decision {
    if condition {
        Decision::Forget
    } else {
        Decision::Keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn timers(mode: Mode) -> LbRule {
        LbRule {
            mode,
            idle: ticks(350_000),
            udp_unreplied: ticks(30_000),
            udp_replied: ticks(180_000),
        }
    }

    fn flow(protocol: Protocol, state: u32, silent_ms: u64) -> Facts {
        Facts {
            stage: Stage::Established,
            protocol,
            state,
            silent: ticks(silent_ms),
            disowned: false,
            draining: false,
            crowded: false,
        }
    }

    fn fate(facts: Facts, mode: Mode) -> Decision {
        decide(&facts, &timers(mode))
    }

    #[test]
    fn an_open_flow_is_left_alone_until_it_has_been_idle_too_long() {
        for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
            assert_eq!(fate(flow(Protocol::Tcp, 0, 349_000), mode), Decision::Keep);
            assert_eq!(fate(flow(Protocol::Tcp, 0, 350_000), mode), Decision::Reset);
        }
    }

    #[test]
    fn a_draining_backends_flows_have_no_other_limit() {
        let mut facts = flow(Protocol::Tcp, 0, 349_000);
        facts.draining = true;
        assert_eq!(fate(facts, Mode::Dsr), Decision::Keep);
    }

    #[test]
    fn a_disowned_flow_is_reset_unless_it_has_ended() {
        let disowned = |protocol, state| {
            let mut facts = flow(protocol, state, 0);
            facts.disowned = true;
            fate(facts, Mode::Nat)
        };
        assert_eq!(disowned(Protocol::Tcp, 0), Decision::Reset);
        assert_eq!(disowned(Protocol::Tcp, CLIENT_FIN), Decision::Reset);
        assert_eq!(disowned(Protocol::Tcp, CLOSED), Decision::Forget);
        assert_eq!(disowned(Protocol::Udp, ANSWERED), Decision::Forget);
    }

    #[test]
    fn a_closed_flow_lingers_and_is_then_forgotten() {
        assert_eq!(
            fate(flow(Protocol::Tcp, CLOSED, 9000), Mode::Nat),
            Decision::Keep
        );
        assert_eq!(
            fate(flow(Protocol::Tcp, CLOSED, LINGER_MS), Mode::Nat),
            Decision::Forget
        );
    }

    #[test]
    fn what_has_ended_makes_room_at_once_in_a_crowded_table() {
        let crowded = |protocol, state| Facts {
            crowded: true,
            ..flow(protocol, state, 1000)
        };
        let ended = crowded(Protocol::Tcp, CLOSED);
        assert_eq!(fate(ended, Mode::Nat), Decision::Forget);
        assert_eq!(fate(ended, Mode::Dsr), Decision::Forget);
        let closing = crowded(Protocol::Tcp, CLIENT_FIN);
        assert_eq!(fate(closing, Mode::Dsr), Decision::Settle);
        assert_eq!(fate(closing, Mode::Nat), Decision::Keep);
        // P6: an open flow makes room for nobody.
        let open = crowded(Protocol::Tcp, 0);
        assert_eq!(fate(open, Mode::Dsr), Decision::Keep);
        assert_eq!(
            fate(crowded(Protocol::Udp, ANSWERED), Mode::Nat),
            Decision::Keep
        );
    }

    #[test]
    fn a_closing_flow_ends_soon_only_where_a_drain_waits_for_it() {
        let facts = flow(Protocol::Tcp, CLIENT_FIN, QUIET_MS + 1);
        assert_eq!(fate(facts, Mode::Dsr), Decision::Keep);
        let draining = Facts {
            draining: true,
            ..facts
        };
        assert_eq!(fate(draining, Mode::Dsr), Decision::Settle);
        assert_eq!(
            fate(draining, Mode::Nat),
            Decision::Keep,
            "nat sees the backend's FIN itself"
        );
        let late = flow(Protocol::Tcp, CLIENT_FIN, SETTLES_MS);
        assert_eq!(fate(late, Mode::Dsr), Decision::Settle);
        assert_eq!(fate(late, Mode::Nat), Decision::Keep);
    }

    #[test]
    fn a_flow_that_only_silence_has_closed_lingers_longer() {
        let settled = |silent_ms| flow(Protocol::Tcp, CLIENT_FIN | CLOSED | SETTLED, silent_ms);
        assert_eq!(fate(settled(59_000), Mode::Dsr), Decision::Keep);
        assert_eq!(fate(settled(HALF_CLOSED_MS), Mode::Dsr), Decision::Forget);
    }

    #[test]
    fn udp_has_two_timeouts_and_no_resets() {
        assert_eq!(
            fate(flow(Protocol::Udp, 0, 30_000), Mode::Nat),
            Decision::Forget
        );
        assert_eq!(
            fate(flow(Protocol::Udp, ANSWERED, 30_000), Mode::Nat),
            Decision::Keep
        );
        assert_eq!(
            fate(flow(Protocol::Udp, ANSWERED, 180_000), Mode::Nat),
            Decision::Forget
        );
    }

    #[test]
    fn a_half_open_flow_is_forgotten_when_its_ports_are_free_again() {
        let half = |protocol, silent_ms| {
            let mut facts = flow(protocol, 0, silent_ms);
            facts.stage = Stage::HalfOpen;
            fate(facts, Mode::Nat)
        };
        assert_eq!(half(Protocol::Tcp, 59_000), Decision::Keep);
        assert_eq!(half(Protocol::Tcp, 60_000), Decision::Forget);
        assert_eq!(half(Protocol::Udp, 30_000), Decision::Forget);
    }

    proptest! {
        #[test]
        fn a_flow_that_spoke_just_now_and_is_owned_is_never_touched(
            state in any::<u32>(), tcp in any::<bool>(), half in any::<bool>(),
            draining in any::<bool>(), crowded in any::<bool>(), mode in 0..3_u8,
        ) {
            let facts = Facts {
                stage: if half { Stage::HalfOpen } else { Stage::Established },
                protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
                state,
                silent: 0,
                disowned: false,
                draining,
                crowded,
            };
            let mode = [Mode::Nat, Mode::Dsr, Mode::Ipip][usize::from(mode)];
            prop_assert_eq!(fate(facts, mode), Decision::Keep);
        }

        #[test]
        fn longer_silence_never_spares_a_flow(
            state in any::<u32>(), tcp in any::<bool>(), draining in any::<bool>(),
            crowded in any::<bool>(),
            silent in 0..400_000_u32, more in 0..400_000_u32,
        ) {
            let with = |silent| fate(Facts {
                stage: Stage::Established,
                protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
                state,
                silent,
                disowned: false,
                draining,
                crowded,
            }, Mode::Dsr);
            if with(silent) != Decision::Keep {
                prop_assert_ne!(with(silent + more), Decision::Keep);
            }
        }
    }
}
