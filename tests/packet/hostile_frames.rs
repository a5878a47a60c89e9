//! P10: frames that are not to us, or that nobody may answer; and how much is answered at
//! most.

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    frame::{self, ACK, Ends, FIN, Icmp, Mac, SYN, icmp, tcp, udp, with_extension},
    hostile::{BACKEND, CLIENT, MODES, backend_of, client, segment, turned, victims},
    world::{CLIENT_MAC, DROP, Mode, OUR_MAC, PASS, TX, World},
};

const ANOTHERS_MAC: Mac = [2, 0, 0, 0, 0, 0xAA];
const VRRP_MAC: Mac = [0, 0, 0x5E, 0, 1, 0x33];
const BROADCAST: Mac = [0xFF; 6];
const GROUP: Mac = [1, 0, 0x5E, 0, 0, 18];

fn ping(v6: bool) -> Icmp {
    Icmp {
        kind: if v6 { 128 } else { 8 },
        code: 0,
        rest: [1; 4],
        payload: vec![0; 8],
    }
}

/// Everything that is answered, or begins a flow.
fn asked(macs: (Mac, Mac), v6: bool) -> Vec<Vec<u8>> {
    let client = client(v6);
    vec![
        tcp(macs, segment(client, SYN, 7, 0)),
        tcp(macs, segment(client, ACK, 7, 7)),
        udp(macs, client, b"hello"),
        icmp(macs, client.from.ip(), client.to.ip(), &ping(v6)),
        frame::tagged(&tcp(macs, segment(client, SYN, 7, 0)), &[[0x81, 0, 0, 7]]),
    ]
}

#[test]
fn p10_a_frame_to_another_host_is_left_alone_and_never_answered() {
    for mode in MODES {
        // With a backend, which it would go to, and without, where it would be refused.
        for backends in [0, 1] {
            for v6 in [false, true] {
                let mut world = World::new(mode, backends);
                let mut sent = 0;
                for to in [ANOTHERS_MAC, VRRP_MAC, BROADCAST, GROUP, [0; 6]] {
                    for frame in asked((CLIENT_MAC, to), v6) {
                        let out = world.run(&frame);
                        assert_eq!((out.action, &out.frame), (PASS, &frame), "{mode:?} {to:x?}");
                        sent += 1;
                    }
                }
                assert_eq!(world.verdicts(), [("pass_not_ours", sent)].into());
                assert!(world.flows4("HALF_V4").is_empty() && world.flows6("HALF_V6").is_empty());
            }
        }
    }
}

#[test]
fn p10_a_frame_to_another_host_changes_nothing_of_an_open_flow() {
    for mut victim in victims() {
        let macs = (CLIENT_MAC, ANOTHERS_MAC);
        let (ends, v6) = (victim.client, victim.v6);
        let facts = victim.facts();
        for flags in [SYN, FIN | ACK, frame::RST] {
            let frame = tcp(macs, segment(ends, flags, CLIENT, BACKEND));
            let out = victim.world.run(&frame);
            assert_eq!((out.action, &out.frame), (PASS, &frame));
        }
        assert_eq!(victim.facts(), facts, "{:?} IPv6 {v6}", victim.world.mode);
        assert_eq!(victim.counters().closed, 0);
    }
}

#[test]
fn p10_a_frame_to_an_address_that_is_set_for_us_is_ours() {
    for mode in MODES {
        for v6 in [false, true] {
            let mut world = World::new(mode, 1);
            for set in 0..8 {
                world.clear();
                world.set(|settings| {
                    settings.macs = Default::default();
                    settings.macs[set] = bytemuck::cast(VRRP_MAC);
                });
                let syn = tcp((CLIENT_MAC, VRRP_MAC), segment(client(v6), SYN, 7, 0));
                assert_eq!(backend_of(&world.run(&syn), v6), 0);
                // What is not set is not the zero address.
                let syn = tcp((CLIENT_MAC, [0; 6]), segment(client(v6), SYN, 7, 0));
                assert_eq!(world.run(&syn).action, PASS);
            }
        }
    }
}

#[test]
fn p10_a_frame_is_ours_by_the_address_that_its_interface_has_now() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Dsr, 1);
        world.set_interface(|interface| interface.from = bytemuck::cast(ANOTHERS_MAC));
        let to = |mac| tcp((CLIENT_MAC, mac), segment(client(v6), SYN, 7, 0));
        assert_eq!(world.run(&to(OUR_MAC)).action, PASS);
        assert_eq!(backend_of(&world.run(&to(ANOTHERS_MAC)), v6), 0);
    }
}

#[test]
fn p10_what_claims_to_come_from_a_group_is_answered_to_nobody() {
    for mode in MODES {
        for backends in [0, 1] {
            for v6 in [false, true] {
                let mut world = World::new(mode, backends);
                let mut sent = 0;
                for from in [BROADCAST, GROUP] {
                    for frame in asked((from, OUR_MAC), v6) {
                        assert_eq!(world.run(&frame).action, DROP, "{mode:?} {from:x?}");
                        sent += 1;
                    }
                }
                assert_eq!(world.verdicts(), [("drop_martian_source", sent)].into());
            }
        }
    }
}

#[test]
fn p10_a_group_never_gets_the_answers_of_a_flow() {
    for v6 in [false, true] {
        let mut victim = crate::hostile::Victim::open(Mode::Nat, v6);
        for from in [BROADCAST, GROUP] {
            let frame = tcp(
                (from, OUR_MAC),
                segment(victim.client, ACK, CLIENT, BACKEND),
            );
            assert_eq!(victim.world.run(&frame).action, DROP);
        }
        let back = turned(victim.at_backend);
        let answer = victim.world.tcp(segment(back, ACK, BACKEND, CLIENT));
        assert_eq!(answer.seen().macs.0, CLIENT_MAC);
    }
}

#[test]
fn p10_a_packet_to_a_vip_that_cannot_be_read_is_not_handed_to_the_host() {
    for mode in MODES {
        let mut world = World::new(mode, 1);
        let mut sent = 0;
        for kind in [0, 43, 60] {
            for transport in [
                tcp((CLIENT_MAC, OUR_MAC), segment(client(true), SYN, 7, 0)),
                udp((CLIENT_MAC, OUR_MAC), client(true), b"hello"),
            ] {
                let mut frame = transport;
                for headers in 1..8 {
                    frame = with_extension(&frame, kind);
                    if headers > 4 {
                        assert_eq!(world.run(&frame).action, DROP, "{headers} of {kind}");
                        assert_eq!(
                            world.run(&frame::tagged(&frame, &[[0x81, 0, 0, 7]])).action,
                            DROP
                        );
                        sent += 2;
                    }
                }
            }
        }
        // One header that is longer than all that is read.
        let frame = udp((CLIENT_MAC, OUR_MAC), client(true), &[0; 400]);
        let mut frame = with_extension(&frame, 60);
        frame[55] = 20;
        assert_eq!(world.run(&frame).action, DROP);
        assert_eq!(world.verdicts(), [("drop_unreadable", sent + 1)].into());
    }
}

#[test]
fn p8_a_packet_to_somebody_else_that_cannot_be_read_passes_untouched() {
    let mut world = World::new(Mode::Nat, 1);
    let host = Ends {
        to: "[fd00::1]:80".parse().unwrap(),
        ..client(true)
    };
    let mut frame = udp((CLIENT_MAC, OUR_MAC), host, b"hello");
    for _ in 0..7 {
        frame = with_extension(&frame, 60);
        let out = world.run(&frame);
        assert_eq!((out.action, &out.frame), (PASS, &frame));
    }
}

/// Runs on one CPU from now on: limits are each CPU's own.
fn on_one_cpu() {
    let mut cpu = CpuSet::new();
    cpu.set(0);
    sched_setaffinity(None, &cpu).expect("to run on the first CPU");
}

/// Has the program answer `frame` far more often than it may in the time that this takes,
/// and says how often it did, and how often it dropped it.
fn flood(world: &mut World, frame: &[u8], times: u64) -> (u64, u64, f64) {
    let began = std::time::Instant::now();
    let (mut answered, mut dropped) = (0, 0);
    for _ in 0..times {
        match world.run(frame).action {
            TX => answered += 1,
            DROP => dropped += 1,
            other => panic!("action {other}: {:?}", world.verdicts()),
        }
    }
    (answered, dropped, began.elapsed().as_secs_f64())
}

#[test]
fn p10_what_is_answered_to_forged_packets_has_a_limit_for_each_kind() {
    on_one_cpu();
    let macs = (CLIENT_MAC, OUR_MAC);
    for mode in MODES {
        for v6 in [false, true] {
            let client = client(v6);
            let echo = icmp(macs, client.from.ip(), client.to.ip(), &ping(v6));
            let kinds = [
                (udp(macs, client, b"x"), 1000, "unreachable_no_backend"),
                (echo, 1000, "echo_reply"),
                (
                    tcp(macs, segment(client, SYN, 7, 0)),
                    10_000,
                    "reset_no_backend",
                ),
            ];
            let mut world = World::new(mode, 0);
            for (frame, most, verdict) in kinds {
                let before = world.verdicts().get("drop_answer_limited").copied();
                let times = most * 3;
                let (answered, dropped, took) = flood(&mut world, &frame, times);
                // A window ends while it goes on, and another one begins.
                let windows = (took / 1.07) as u64 + 2;
                assert!(
                    answered <= most * windows,
                    "{verdict}: {answered} in {took} s"
                );
                assert!(
                    dropped > 0 || windows > 3,
                    "{verdict}: no limit in {took} s"
                );
                assert!(
                    answered >= most,
                    "{verdict}: another kind took of its share"
                );
                let verdicts = world.verdicts();
                assert_eq!(verdicts[verdict], answered);
                let limited = verdicts.get("drop_answer_limited").copied();
                let limited = limited.unwrap_or_default() - before.unwrap_or_default();
                assert_eq!((limited, answered + dropped), (dropped, times));
            }
        }
    }
}

#[test]
fn p4_resets_of_flows_that_were_taken_from_their_backend_have_no_limit() {
    on_one_cpu();
    for mut victim in victims() {
        let (backend, v6) = (victim.backend, victim.v6);
        victim.world.put_backend(backend, v6, |b| b.epoch += 1);
        let frame = tcp(
            (CLIENT_MAC, OUR_MAC),
            segment(victim.client, ACK, CLIENT, BACKEND),
        );
        let (answered, dropped, _) = flood(&mut victim.world, &frame, 25_000);
        assert_eq!((answered, dropped), (25_000, 0));
    }
}
