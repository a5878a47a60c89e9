//! Hops: every packet that is forwarded spends one, in every mode, and who has none left
//! is told so.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    frame::{
        ACK, Ends, FIN, Icmp, PSH, RST, SYN, Segment, fragments, icmp, read, tcp, udp, with_hops,
    },
    udp::client,
    world::{CLIENT_MAC, Mode, OUR_MAC, Out, TX, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);
const MODES: [Mode; 3] = [Mode::Nat, Mode::Dsr, Mode::Ipip];

fn segment(v6: bool, flags: u8, payload: usize) -> Segment {
    let (seq, ack) = if flags == SYN {
        (1000, 0)
    } else {
        (1001, 5001)
    };
    Segment {
        ends: client(v6),
        flags,
        seq,
        ack,
        payload,
    }
}

fn frame(v6: bool, flags: u8, payload: usize) -> Vec<u8> {
    tcp(MACS, segment(v6, flags, payload))
}

/// What the backend gets, without the outer header of a tunnel.
fn at_backend(mode: Mode, v6: bool, out: &Out) -> Vec<u8> {
    let outer = match mode {
        Mode::Nat | Mode::Dsr => 0,
        Mode::Ipip if v6 => 40,
        Mode::Ipip => 20,
    };
    let kind: [u8; 2] = if v6 { [0x86, 0xDD] } else { [8, 0] };
    [&out.frame[..12], &kind, &out.frame[14 + outer..]].concat()
}

/// Has a SYN answered (nat); what came of it.
fn begin(world: &mut World, v6: bool) -> Ends {
    let out = world.run(&frame(v6, SYN, 0));
    let Ends { from, to } = read(&at_backend(world.mode, v6, &out)).ends;
    if world.mode == Mode::Nat {
        world.tcp(Segment {
            ends: Ends { from: to, to: from },
            flags: SYN | ACK,
            seq: 5000,
            ack: 1001,
            payload: 0,
        });
    }
    Ends { from, to }
}

fn open(world: &mut World, v6: bool) -> Ends {
    let ends = begin(world, v6);
    world.run(&frame(v6, ACK, 0));
    let entries = if world.mode == Mode::Nat { 2 } else { 1 };
    assert_eq!(world.established(v6), entries, "{}", world.state());
    ends
}

fn half_open(world: &mut World, v6: bool) -> usize {
    if v6 {
        world.flows6("HALF_V6").len()
    } else {
        world.flows4("HALF_V4").len()
    }
}

/// It is the error about a client's packet whose hops are used up.
fn is_time_exceeded(out: &Out, sent: &[u8], v6: bool) {
    let seen = out.seen();
    let client = client(v6);
    assert_eq!(
        (
            out.action,
            seen.macs,
            seen.ends.from.ip(),
            seen.ends.to.ip()
        ),
        (TX, MACS, client.to.ip(), client.from.ip())
    );
    let message = seen.icmp.expect("an ICMP message");
    assert_eq!(
        (message.kind, message.code, message.rest),
        (if v6 { 3 } else { 11 }, 0, [0; 4])
    );
    let headers = if v6 { 40 } else { 20 };
    assert_eq!(message.payload, sent[14..14 + headers + 8]);
}

#[test]
fn a_forwarded_packet_has_spent_one_hop_in_every_mode() {
    for mode in MODES {
        for v6 in [false, true] {
            let mut world = World::new(mode, 1);
            for hops in [64, 2] {
                open(&mut world, v6);
                // Of a new flow, of one that is open, and one with an end in it.
                for (flags, payload) in [(SYN, 0), (ACK | PSH, 9), (ACK | FIN, 0)] {
                    let out = world.run(&with_hops(&frame(v6, flags, payload), hops));
                    let seen = read(&at_backend(mode, v6, &out));
                    assert_eq!(seen.hops, hops - 1, "{mode:?} {flags} {}", world.state());
                }
                world.clear();
            }
            assert!(world.verdicts().is_empty());
        }
    }
}

#[test]
fn the_first_packet_of_a_flow_on_its_last_hop_is_answered_and_leaves_nothing_behind() {
    for mode in MODES {
        for v6 in [false, true] {
            for hops in [0, 1] {
                let mut world = World::new(mode, 1);
                let frames = [frame(v6, SYN, 0), udp(MACS, client(v6), b"hello, backend")];
                for sent in frames.map(|whole| with_hops(&whole, hops)) {
                    is_time_exceeded(&world.run(&sent), &sent, v6);
                }
                let left = (half_open(&mut world, v6), world.established(v6));
                assert_eq!(left, (0, 0), "{mode:?} {}", world.state());
                assert_eq!(world.verdicts(), [("icmp_time_exceeded", 2)].into());
                assert_eq!(world.counters(World::index(0, v6)).packets_in, 0);
            }
        }
    }
}

#[test]
fn a_packet_on_its_last_hop_changes_nothing_about_its_flow() {
    for mode in MODES {
        for v6 in [false, true] {
            let mut world = World::new(mode, 1);
            begin(&mut world, v6);
            let begun = half_open(&mut world, v6);
            for flags in [ACK, RST, SYN] {
                let sent = with_hops(&frame(v6, flags, 0), 1);
                is_time_exceeded(&world.run(&sent), &sent, v6);
                let now = (half_open(&mut world, v6), world.established(v6));
                assert_eq!(now, (begun, 0), "{mode:?} {flags}");
            }
            world.clear();
            open(&mut world, v6);
            let before = world.counters(World::index(0, v6));
            for flags in [ACK | PSH, ACK | FIN, RST, SYN] {
                let sent = with_hops(&frame(v6, flags, 40), 1);
                is_time_exceeded(&world.run(&sent), &sent, v6);
            }
            assert_eq!(world.counters(World::index(0, v6)), before);
            assert_eq!(half_open(&mut world, v6), 0, "no SYN is remembered");
            let out = world.run(&frame(v6, ACK | PSH, 10));
            assert_eq!(read(&at_backend(mode, v6, &out)).hops, 63);
            assert_eq!(world.counters(World::index(0, v6)).closed, 0);
        }
    }
}

#[test]
fn a_backend_is_told_too_that_its_answer_has_used_up_its_hops() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 1);
        let Ends { from, to } = open(&mut world, v6);
        let answer = Segment {
            ends: Ends { from: to, to: from },
            flags: ACK | PSH,
            seq: 5001,
            ack: 1001,
            payload: 100,
        };
        let out = world.run(&with_hops(&tcp(MACS, answer), 1));
        let seen = out.seen();
        assert_eq!(
            (seen.ends.from.ip(), seen.ends.to.ip()),
            (from.ip(), to.ip())
        );
        assert_eq!(seen.icmp.expect("an error").kind, if v6 { 3 } else { 11 });
    }
}

#[test]
fn neither_a_later_fragment_nor_an_error_is_answered_when_its_hops_are_used_up() {
    for mode in MODES {
        for v6 in [false, true] {
            let mut world = World::new(mode, 1);
            let pieces = fragments(&udp(MACS, client(v6), &[7; 64]), 40);
            world.run(&pieces[0]);
            world.run(&with_hops(&pieces[1], 1));
            assert_eq!(world.verdicts(), [("drop_ttl_expired", 1)].into());
            // About what a backend has sent: to it by way of the VIP.
            let Ends { from, to } = client(v6);
            let back = Ends { from: to, to: from };
            let about = udp(MACS, back, b"an answer");
            let router: IpAddr = if v6 { "fd00::f" } else { "10.0.0.15" }.parse().unwrap();
            let error = Icmp {
                kind: if v6 { 1 } else { 3 },
                code: if v6 { 4 } else { 3 },
                rest: [0; 4],
                payload: about[14..].to_vec(),
            };
            world.run(&with_hops(&icmp(MACS, router, to.ip(), &error), 1));
            assert_eq!(world.verdicts(), [("drop_ttl_expired", 2)].into());
        }
    }
}

#[test]
fn two_balancers_that_name_each_other_end_a_datagram_by_its_hops() {
    for mode in [Mode::Dsr, Mode::Ipip] {
        for v6 in [false, true] {
            let mut pair = [World::new(mode, 1), World::new(mode, 1)];
            let mut sent = udp(MACS, client(v6), b"round and round");
            let mut times = 0;
            let last = loop {
                let world = &mut pair[times % 2];
                let out = world.run(&sent);
                if !world.verdicts().is_empty() {
                    break out;
                }
                times += 1;
                assert!(times < 64, "{mode:?} {}", world.state());
                // From one to the other.
                sent = at_backend(mode, v6, &out);
                sent[..12].copy_from_slice(&[OUR_MAC, CLIENT_MAC].concat());
            };
            assert_eq!(times, 63);
            is_time_exceeded(&last, &sent, v6);
        }
    }
}

#[test]
fn used_up_hops_are_told_of_a_thousand_times_a_second_at_most() {
    // The limit is each CPU's own.
    let mut cpu = CpuSet::new();
    cpu.set(0);
    sched_setaffinity(None, &cpu).expect("to run on the first CPU");
    let mut world = World::new(Mode::Dsr, 1);
    let sent = with_hops(&frame(false, SYN, 0), 1);
    let began = Instant::now();
    for _ in 0..2500 {
        world.run(&sent);
    }
    let took = began.elapsed();
    let verdicts = world.verdicts();
    let count = |verdict| verdicts.get(verdict).copied().unwrap_or_default();
    let (told, dropped) = (count("icmp_time_exceeded"), count("drop_ttl_expired"));
    assert_eq!(told + dropped, 2500);
    // Two thousand at most, where one second follows another; an emulated CPU may not
    // get there.
    let fast = took < Duration::from_secs(1);
    assert!(dropped > 0 || !fast, "no limit: {verdicts:?} in {took:?}");
}
