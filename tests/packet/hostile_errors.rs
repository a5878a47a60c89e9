//! P10: ICMP errors are believed only where they fit their flow, and shrink nobody else's
//! packets; and what is too big for its way out is answered.

use crate::{
    frame::{ACK, Ends, Icmp, PSH, SYN, Segment, icmp, tcp, udp},
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

/// The segment size that a SYN of the client promises to its backend.
fn promised(world: &mut World, ends: Ends, mss: u16) -> u16 {
    let mut syn = tcp(
        MACS,
        Segment {
            payload: 4,
            ..segment(ends, SYN, 7, 0)
        },
    );
    // The payload becomes the option, and the sum stays what it is but for the header's
    // length and what the option says.
    let l4 = if ends.from.is_ipv6() { 54 } else { 34 };
    syn[l4 + 12] = 0x60;
    let [a, b] = mss.to_be_bytes();
    syn[l4 + 20..].copy_from_slice(&[2, 4, a, b]);
    let syn = crate::frame::with_right_sums(&syn);
    let out = world.run(&syn);
    // All sums are right.
    out.seen();
    u16::from_be_bytes(out.frame[l4 + 22..l4 + 24].try_into().unwrap())
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
