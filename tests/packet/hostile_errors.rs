//! P10: ICMP errors are believed only where they fit their flow, and shrink nobody else's
//! packets; and what is too big for its way out is answered.

use crate::{
    frame::{ACK, Ends, Icmp, PSH, SYN, Segment, icmp, tcp, udp, with_right_sums},
    hostile::{BACKEND, CLIENT, MODES, Victim, client, segment, turned, victims},
    world::{CLIENT_MAC, DROP, Mode, OTHER_IFINDEX, OUR_MAC, TX, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

/// Fragmentation needed, or packet too big.
fn too_big(v6: bool, mtu: u16, about: &[u8]) -> Icmp {
    let [a, b] = mtu.to_be_bytes();
    Icmp {
        kind: if v6 { 2 } else { 3 },
        code: if v6 { 0 } else { 4 },
        rest: [0, 0, a, b],
        payload: about[14..14 + if v6 { 48 } else { 28 }].to_vec(),
    }
}

fn unreachable(v6: bool, about: &[u8]) -> Icmp {
    Icmp {
        kind: if v6 { 1 } else { 3 },
        code: 1,
        ..too_big(v6, 0, about)
    }
}

/// An error from a router about a packet with these ends and number.
fn about(ends: Ends, seq: u32, message: impl Fn(&[u8]) -> Icmp) -> Vec<u8> {
    let lost = tcp(MACS, segment(ends, ACK, seq, 1));
    let v6 = ends.from.is_ipv6();
    let router = if v6 { "fd00::f" } else { "10.0.0.15" }.parse().unwrap();
    icmp(MACS, router, ends.from.ip(), &message(&lost))
}

/// Where an error about the victim's packets can come from: whose packet it is about, its
/// ends, and the first number that its receiver has not acknowledged.
fn sides(victim: &Victim) -> Vec<(Ends, u32)> {
    let mut sides = vec![(turned(victim.client), BACKEND)];
    if victim.is_nat() {
        sides.push((victim.at_backend, CLIENT));
    }
    sides
}

#[test]
fn p10_an_error_about_what_was_not_sent_or_is_acknowledged_is_not_believed() {
    for mut victim in victims() {
        let v6 = victim.v6;
        let mut sent = 0;
        for (ends, next) in sides(&victim) {
            for off in [u32::MAX, u32::MAX - 5000, 4096, 1 << 20, 1 << 31] {
                for error in [unreachable, |v6, about: &[u8]| too_big(v6, 1280, about)] {
                    let frame = about(ends, next.wrapping_add(off), |p| error(v6, p));
                    assert_eq!(victim.world.run(&frame).action, DROP, "off by {off}");
                    sent += 1;
                }
            }
        }
        let verdicts = victim.world.verdicts();
        assert_eq!(verdicts, [("drop_icmp_not_believed", sent)].into());
        assert_eq!(victim.counters().closed, 0);
    }
}

#[test]
fn p10_an_error_about_what_may_be_lost_reaches_its_end() {
    for mut victim in victims() {
        let v6 = victim.v6;
        for (ends, next) in sides(&victim) {
            for off in [0, 1460, 4095] {
                let frame = about(ends, next + off, |p| unreachable(v6, p));
                let out = victim.world.run(&frame);
                assert_ne!(out.action, DROP, "{:?}", victim.world.verdicts());
            }
        }
        assert!(victim.world.verdicts().is_empty());
    }
}

#[test]
fn p10_an_error_about_a_syn_is_believed_by_the_syns_own_number() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 1);
        let at_backend = world
            .tcp(segment(client(v6), SYN, CLIENT - 1, 0))
            .seen()
            .ends;
        for (seq, believed) in [(CLIENT - 1, true), (CLIENT, false), (7, false)] {
            let frame = about(at_backend, seq, |p| unreachable(v6, p));
            let out = world.run(&frame);
            assert_eq!(
                out.action != DROP,
                believed,
                "{seq}: {:?}",
                world.verdicts()
            );
        }
    }
}

#[test]
fn p10_an_error_from_where_the_backend_is_not_is_not_believed() {
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        let backend = victim.backend;
        let there = |b: &mut lb_common::abi::backend::Backend| b.ifindex = OTHER_IFINDEX;
        victim.world.put_backend(backend, v6, there);
        let frame = about(victim.at_backend, CLIENT, |p| unreachable(v6, p));
        assert_eq!(victim.world.run(&frame).action, DROP);
        let verdicts = victim.world.verdicts();
        assert_eq!(verdicts, [("drop_icmp_not_believed", 1)].into());
    }
}

#[test]
fn p10_no_error_tells_an_mtu_below_the_floor() {
    for mut victim in victims() {
        let v6 = victim.v6;
        // In dsr and ipip it goes to the backend; in nat, this side's goes to the client.
        let (ends, next) = *sides(&victim).last().unwrap();
        for mtu in [0, 68, 552, 1279] {
            let frame = about(ends, next, |p| too_big(v6, mtu, p));
            assert_eq!(victim.world.run(&frame).action, DROP, "{mtu}");
        }
        let verdicts = victim.world.verdicts();
        assert_eq!(verdicts, [("drop_icmp_not_believed", 4)].into());
        let at = |victim: &mut Victim, mtu| {
            let out = victim
                .world
                .run(&about(ends, next, |p| too_big(v6, mtu, p)));
            assert_ne!(out.action, DROP, "{mtu}: {:?}", victim.world.verdicts());
        };
        at(&mut victim, 1280);
        if !v6 {
            victim.world.set(|settings| settings.least_mtu_v4 = 600);
            at(&mut victim, 600);
        }
    }
}

/// What becomes of these options of the client's SYN on their way to its backend.
fn sent_on(world: &mut World, ends: Ends, options: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0, "{options:?}");
    let mut syn = tcp(
        MACS,
        Segment {
            payload: options.len(),
            ..segment(ends, SYN, 7, 0)
        },
    );
    // The payload becomes the options.
    let l4 = if ends.from.is_ipv6() { 54 } else { 34 };
    syn[l4 + 12] = u8::try_from(5 + options.len() / 4).unwrap() << 4;
    let options_at = l4 + 20..l4 + 20 + options.len();
    syn[options_at.clone()].copy_from_slice(options);
    let out = world.run(&with_right_sums(&syn));
    // All sums are right.
    out.seen();
    out.frame[options_at].to_vec()
}

/// The option that promises this segment size.
fn promise(mss: u16) -> [u8; 4] {
    let [a, b] = mss.to_be_bytes();
    [2, 4, a, b]
}

/// The segment size that a SYN of the client promises to its backend, if it said `mss`.
fn promised(world: &mut World, ends: Ends, mss: u16) -> u16 {
    let [_, _, a, b] = sent_on(world, ends, &promise(mss))[..] else {
        panic!("four bytes were sent");
    };
    u16::from_be_bytes([a, b])
}

#[test]
fn p10_a_clients_path_shrinks_the_segments_of_that_client_and_of_no_other() {
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        let headers = if v6 { 60 } else { 40 };
        let frame = about(turned(victim.client), BACKEND, |p| too_big(v6, 1400, p));
        let out = victim.world.run(&frame);
        if v6 {
            // No router fragments what was agreed on: the backend has to hear of it.
            let seen = out.seen();
            let message = seen.icmp.expect("an ICMP message");
            assert_eq!(seen.ends.to.ip(), victim.at_backend.to.ip());
            assert_eq!(
                (message.kind, message.rest),
                (2, [0, 0, 5, 120]),
                "as it was told"
            );
            assert!(
                victim.world.verdicts().is_empty(),
                "{:?}",
                victim.world.verdicts()
            );
            // And the connection goes on.
            let next = victim.client(ACK | PSH, CLIENT, BACKEND);
            assert_eq!(next.seen().ends, victim.at_backend);
        } else {
            // The backend, where all clients have one address, hears nothing.
            assert_eq!(out.action, DROP);
            assert_eq!(victim.world.verdicts(), [("drop_path_mtu_noted", 1)].into());
            // Routers may fragment what was agreed on.
            let back = turned(victim.at_backend);
            let answer = tcp(MACS, segment(back, ACK, BACKEND, CLIENT));
            assert_eq!(answer[20] & 0x40, 0x40, "the backend says: do not");
            let out = victim.world.run(&answer);
            assert_eq!(out.seen().ends, turned(victim.client));
            assert_eq!(out.frame[20] & 0x40, 0);
            assert_ne!(out.frame[18..20], [0, 0], "the fragments find each other");
        }
        // The client's next one fits.
        let mut ends = victim.client;
        ends.from.set_port(41_000);
        assert_eq!(promised(&mut victim.world, ends, 1460), 1400 - headers);
        ends.from.set_port(41_001);
        assert_eq!(
            promised(&mut victim.world, ends, 1200),
            1200,
            "is short as it is"
        );
        let stranger = if v6 {
            "[fd00::a]:41000"
        } else {
            "10.0.0.10:41000"
        };
        ends.from = stranger.parse().unwrap();
        assert_eq!(
            promised(&mut victim.world, ends, 1460),
            1460,
            "another client"
        );
    }
}

/// A victim in nat whose path takes 1400 bytes, as it has been told, and the longest
/// segment that fits.
fn with_a_short_path(v6: bool) -> (Victim, u16) {
    let mut victim = Victim::open(Mode::Nat, v6);
    victim
        .world
        .run(&about(turned(victim.client), BACKEND, |p| {
            too_big(v6, 1400, p)
        }));
    (victim, if v6 { 1340 } else { 1360 })
}

#[test]
fn p10_the_segment_size_is_found_in_every_place_and_order_of_options() {
    const SACK_PERMITTED: &[u8] = &[4, 2];
    const WINDOW_SCALE: &[u8] = &[3, 3, 7];
    const TIMESTAMPS: &[u8] = &[8, 10, 1, 2, 3, 4, 0, 0, 0, 0];
    // As senders have no use for it, but may send it: it looks like the one that is sought.
    const UNKNOWN: &[u8] = &[254, 6, 2, 4, 0xFF, 0xFF];
    // The longest that leaves room.
    const LONG: &[u8; 36] = &{
        let mut long = [9; 36];
        long[0] = 254;
        long[1] = 36;
        long
    };
    let befores = [
        [SACK_PERMITTED, &[]],
        [WINDOW_SCALE, &[]],
        [TIMESTAMPS, &[]],
        [UNKNOWN, &[]],
        [LONG, &[]],
        [SACK_PERMITTED, TIMESTAMPS],
        [TIMESTAMPS, WINDOW_SCALE],
        [WINDOW_SCALE, UNKNOWN],
    ]
    .map(|two| two.concat())
    .into_iter()
    // And behind so many that are their kind alone, in even places and odd ones.
    .chain((0..=36).map(|nops| vec![1; nops]));
    let befores: Vec<Vec<u8>> = befores.collect();
    for v6 in [false, true] {
        let (mut victim, most) = with_a_short_path(v6);
        let mut ends = victim.client;
        for (port, before) in (42_000..).zip(&befores) {
            ends.from.set_port(port);
            let with = |mss| {
                let mut options = [before, &promise(mss)[..]].concat();
                options.resize(options.len().next_multiple_of(4), 0);
                options
            };
            let out = sent_on(&mut victim.world, ends, &with(1460));
            assert_eq!(out, with(most), "behind {before:?}");
        }
    }
}

#[test]
fn p10_what_no_receiver_reads_as_a_segment_size_is_not_changed() {
    let long = promise(1460);
    let whole: [&[u8]; 6] = [
        // Behind the end of the options,
        &[0],
        // behind one that is shorter than itself,
        &[8, 0],
        &[8, 1],
        // behind one that is longer than the header, inside one,
        &[8, 200],
        &[254, 6],
        // and in one of another length.
        &[2, 6],
    ];
    for v6 in [false, true] {
        let (mut victim, _) = with_a_short_path(v6);
        let mut ends = victim.client;
        for (port, before) in (42_000..).zip(whole) {
            ends.from.set_port(port);
            let mut options = [before, &long[..]].concat();
            options.resize(options.len().next_multiple_of(4), 0);
            let out = sent_on(&mut victim.world, ends, &options);
            assert_eq!(out, options);
        }
        // It has room for its kind only.
        ends.from.set_port(41_999);
        let cut = [1, 1, 2, 4];
        assert_eq!(sent_on(&mut victim.world, ends, &cut), cut);
    }
}

#[test]
fn p10_a_client_that_does_not_know_a_number_ends_nobodys_flow_by_its_path() {
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        for guess in (0..1024_u32)
            .map(|n| n << 22)
            .filter(|n| n.abs_diff(BACKEND) > 4096)
        {
            victim.world.run(&about(turned(victim.client), guess, |p| {
                too_big(v6, 1400, p)
            }));
        }
        let next = victim.client(ACK | PSH, CLIENT, BACKEND);
        assert_eq!(next.seen().ends, victim.at_backend);
    }
}

/// Reads the answer to a packet that is too big.
fn told(out: &crate::world::Out) -> (Ends, u16) {
    assert_eq!(out.action, TX);
    let seen = out.seen();
    let message = seen.icmp.expect("an ICMP message");
    let [_, _, a, b] = message.rest;
    let v6 = seen.ends.from.is_ipv6();
    assert_eq!(
        (message.kind, message.code),
        if v6 { (2, 0) } else { (3, 4) }
    );
    (seen.ends, u16::from_be_bytes([a, b]))
}

#[test]
fn p9_what_is_too_big_for_the_link_to_its_backend_is_answered_and_not_booked_as_forwarded() {
    for mode in MODES {
        for v6 in [false, true] {
            let mut victim = Victim::open(mode, v6);
            let headers = if v6 { 60 } else { 40 };
            let outer = match (mode, v6) {
                (Mode::Ipip, false) => 20,
                (Mode::Ipip, true) => 40,
                (Mode::Nat | Mode::Dsr, _) => 0,
            };
            let send = |victim: &mut Victim, payload| {
                victim.world.tcp(Segment {
                    payload,
                    ..segment(victim.client, ACK | PSH, CLIENT, BACKEND)
                })
            };
            let fits = send(&mut victim, 1500 - outer - headers);
            assert_eq!(fits.frame.len(), 1514, "{mode:?}");
            let before = victim.counters().packets_in;
            let out = send(&mut victim, 1501 - outer - headers);
            let (ends, mtu) = told(&out);
            assert_eq!(usize::from(mtu), 1500 - outer);
            assert_eq!(ends.to.ip(), victim.client.from.ip());
            assert_eq!(victim.counters().packets_in, before);
            assert_eq!(victim.world.verdicts(), [("icmp_too_big", 1)].into());
            // A new flow, too: a datagram begins one.
            let big = udp(MACS, victim.client, &[0; 1600]);
            told(&victim.world.run(&big));
        }
    }
}

#[test]
fn p9_what_is_too_big_for_the_link_to_its_client_is_answered_and_not_booked_as_forwarded() {
    for v6 in [false, true] {
        let mut victim = Victim::open(Mode::Nat, v6);
        victim.world.set_interface(|interface| interface.mtu = 1400);
        let headers = if v6 { 60 } else { 40 };
        let back = turned(victim.at_backend);
        let send = |victim: &mut Victim, payload| {
            victim.world.tcp(Segment {
                payload,
                ..segment(back, ACK | PSH, BACKEND, CLIENT)
            })
        };
        let fits = send(&mut victim, 1400 - headers);
        assert_eq!(fits.frame.len(), 1414);
        let before = victim.counters().packets_out;
        let (ends, mtu) = told(&send(&mut victim, 1401 - headers));
        assert_eq!((ends.to.ip(), mtu), (victim.at_backend.to.ip(), 1400));
        assert_eq!(victim.counters().packets_out, before);
        assert_eq!(victim.world.verdicts(), [("icmp_too_big", 1)].into());
    }
}
