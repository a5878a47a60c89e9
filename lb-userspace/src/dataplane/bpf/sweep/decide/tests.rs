use lb_common::abi::flow::NAT;

use super::*;
use lb_common::tcp::CLIENT_FIN;
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
        short_of_ports: false,
        disowned: false,
        draining: false,
        ends_udp: false,
        is_more_than_a_handshake: true,
        crowd: Crowd::Roomy,
    }
}

fn fate(facts: Facts, mode: Mode) -> Decision {
    decide(&facts, &timers(mode))
}

#[test]
fn a_handshake_that_nobody_finishes_gives_its_port_back_soon_where_few_are_left() {
    let handshake = |silent_ms, short_of_ports| {
        let facts = Facts {
            stage: Stage::HalfOpen,
            short_of_ports,
            ..flow(Protocol::Tcp, NAT, silent_ms)
        };
        fate(facts, Mode::Nat)
    };
    assert_eq!(handshake(3000, false), Decision::Keep);
    assert_eq!(handshake(3000, true), Decision::Forget);
    assert_eq!(
        handshake(1500, true),
        Decision::Keep,
        "a lost SYN-ACK comes again"
    );
}

#[test]
fn what_has_ended_gives_its_port_back_soon_where_few_are_left() {
    let ended = |silent_ms, short_of_ports| {
        let facts = Facts {
            short_of_ports,
            ..flow(Protocol::Tcp, CLOSED, silent_ms)
        };
        fate(facts, Mode::Nat)
    };
    assert_eq!(ended(1000, false), Decision::Keep);
    assert_eq!(ended(1000, true), Decision::Forget);
    assert_eq!(
        ended(100, true),
        Decision::Keep,
        "its last word is under way"
    );
}

#[test]
fn an_open_flow_is_left_alone_until_it_has_been_idle_too_long() {
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        assert_eq!(fate(flow(Protocol::Tcp, 0, 349_000), mode), Decision::Keep);
        assert_eq!(fate(flow(Protocol::Tcp, 0, 350_000), mode), Decision::Reset);
    }
}

#[test]
fn a_backend_that_fails_ends_its_conversations_and_no_connection() {
    for stage in [Stage::HalfOpen, Stage::Established] {
        let facts = |protocol| Facts {
            stage,
            ends_udp: true,
            ..flow(protocol, 0, 0)
        };
        assert_eq!(fate(facts(Protocol::Udp), Mode::Nat), Decision::Forget);
        assert_eq!(fate(facts(Protocol::Tcp), Mode::Nat), Decision::Keep);
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
    assert_eq!(disowned(Protocol::Udp, NAT), Decision::Forget);
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
        crowd: Crowd::Short,
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
    assert_eq!(fate(crowded(Protocol::Udp, NAT), Mode::Nat), Decision::Keep);
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
    let late = flow(Protocol::Tcp, CLIENT_FIN, SETTLE_AFTER_MS);
    assert_eq!(fate(late, Mode::Dsr), Decision::Settle);
    assert_eq!(fate(late, Mode::Nat), Decision::Keep);
}

#[test]
fn a_flow_that_only_silence_has_closed_lingers_longer() {
    let settled = |silent_ms| flow(Protocol::Tcp, CLIENT_FIN | CLOSED | SETTLED, silent_ms);
    assert_eq!(fate(settled(59_000), Mode::Dsr), Decision::Keep);
    assert_eq!(
        fate(settled(SETTLED_LINGER_MS), Mode::Dsr),
        Decision::Forget
    );
}

#[test]
fn udp_has_two_timeouts_and_no_resets() {
    let unanswered = Facts {
        stage: Stage::HalfOpen,
        ..flow(Protocol::Udp, 0, 30_000)
    };
    assert_eq!(fate(unanswered, Mode::Nat), Decision::Forget);
    // As the kernel program leaves it when a backend has answered.
    let answered = |silent_ms| flow(Protocol::Udp, NAT, silent_ms);
    assert_eq!(fate(answered(30_000), Mode::Nat), Decision::Keep);
    assert_eq!(fate(answered(180_000), Mode::Nat), Decision::Forget);
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

#[test]
fn a_connection_that_has_carried_nothing_goes_first_and_early_in_a_table_that_fills() {
    let bare = |crowd, silent_ms| Facts {
        is_more_than_a_handshake: false,
        crowd,
        ..flow(Protocol::Tcp, 0, silent_ms)
    };
    for crowd in [Crowd::Filling, Crowd::Short] {
        assert_eq!(fate(bare(crowd, 5000), Mode::Dsr), Decision::Forget);
        assert_eq!(fate(bare(crowd, 5000), Mode::Ipip), Decision::Forget);
        assert_eq!(fate(bare(crowd, 5000), Mode::Nat), Decision::Reset);
        let draining = Facts {
            draining: true,
            ..bare(crowd, 5000)
        };
        for mode in Mode::ALL {
            assert_eq!(fate(bare(crowd, 4900), mode), Decision::Keep);
            // Its next packet would go elsewhere.
            assert_eq!(fate(draining, mode), Decision::Keep);
            // P6: who has sent something makes room for nobody.
            let mut talks = bare(crowd, 5000);
            talks.is_more_than_a_handshake = true;
            assert_eq!(fate(talks, mode), Decision::Keep);
        }
    }
    for mode in Mode::ALL {
        assert_eq!(fate(bare(Crowd::Roomy, 349_000), mode), Decision::Keep);
    }
}

fn crowds() -> impl Strategy<Value = Crowd> {
    prop_oneof![Just(Crowd::Roomy), Just(Crowd::Filling), Just(Crowd::Short)]
}

proptest! {
    #[test]
    fn a_flow_that_spoke_just_now_and_is_owned_is_never_touched(
        state in any::<u32>(), tcp in any::<bool>(), half in any::<bool>(),
        draining in any::<bool>(), more in any::<bool>(), crowd in crowds(), mode in 0..3_u8,
    ) {
        let facts = Facts {
            short_of_ports: false,
            stage: if half { Stage::HalfOpen } else { Stage::Established },
            protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
            state,
            silent: 0,
            disowned: false,
            draining,
            ends_udp: false,
            is_more_than_a_handshake: more,
            crowd,
        };
        let mode = [Mode::Nat, Mode::Dsr, Mode::Ipip][usize::from(mode)];
        prop_assert_eq!(fate(facts, mode), Decision::Keep);
    }

    #[test]
    fn longer_silence_never_spares_a_flow(
        state in any::<u32>(), tcp in any::<bool>(), draining in any::<bool>(),
        bare in any::<bool>(), crowd in crowds(), short_of_ports in any::<bool>(),
        silent in 0..400_000_u32, more in 0..400_000_u32,
    ) {
        let with = |silent| fate(Facts {
            stage: Stage::Established,
            protocol: if tcp { Protocol::Tcp } else { Protocol::Udp },
            state,
            silent,
            disowned: false,
            draining,
            ends_udp: false,
            is_more_than_a_handshake: !bare,
            short_of_ports,
            crowd,
        }, Mode::Dsr);
        if with(silent) != Decision::Keep {
            prop_assert_ne!(with(silent + more), Decision::Keep);
        }
    }
}
