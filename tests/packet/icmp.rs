//! ICMP: echo to a VIP, and errors that find their flow.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    frame::{ACK, Ends, Icmp, PSH, SYN, Segment, icmp, tcp},
    udp::client,
    world::{CLIENT_MAC, Mode, OUR_MAC, PASS, TX, World, backend_mac},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

fn address(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn error(v6: bool, embedded: &[u8]) -> Icmp {
    Icmp {
        kind: if v6 { 2 } else { 3 },
        code: if v6 { 0 } else { 4 },
        rest: [0, 0, 5, 20],
        payload: embedded.to_vec(),
    }
}

#[test]
fn echo_to_a_vip_is_answered_and_to_anybody_else_is_not() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Dsr, 1);
        let ping = Icmp {
            kind: if v6 { 128 } else { 8 },
            code: 0,
            rest: [1, 2, 3, 4],
            payload: vec![7; 56],
        };
        let client = client(v6);
        let out = world.run(&icmp(MACS, client.from.ip(), client.to.ip(), &ping));
        let seen = out.seen();
        assert_eq!((out.action, seen.macs), (TX, (CLIENT_MAC, OUR_MAC)));
        assert_eq!(
            (seen.ends.from.ip(), seen.ends.to.ip(), seen.hops),
            (client.to.ip(), client.from.ip(), 64)
        );
        let pong = seen.icmp.expect("an ICMP message");
        assert_eq!(
            pong,
            Icmp {
                kind: if v6 { 129 } else { 0 },
                ..ping.clone()
            }
        );
        let host = address(if v6 { "fd00::1" } else { "10.0.0.1" });
        let frame = icmp(MACS, client.from.ip(), host, &ping);
        let out = world.run(&frame);
        assert_eq!((out.action, &out.frame), (PASS, &frame));
        let source = World::nat_source(v6);
        let frame = icmp(MACS, client.from.ip(), source, &ping);
        assert_eq!(
            world.run(&frame).action,
            PASS,
            "a nat source is the host's own"
        );
    }
}

/// Opens a connection; what arrived at the backend.
fn open(world: &mut World, v6: bool) -> Ends {
    let client = client(v6);
    let mut segment = Segment {
        ends: client,
        flags: SYN,
        seq: 1,
        ack: 0,
        payload: 0,
    };
    let at_backend = world.tcp(segment).seen().ends;
    if world.mode == Mode::Nat {
        let back = Ends {
            from: at_backend.to,
            to: at_backend.from,
        };
        world.tcp(Segment {
            ends: back,
            flags: SYN | ACK,
            seq: 100,
            ack: 2,
            payload: 0,
        });
    }
    segment.flags = ACK;
    (segment.seq, segment.ack) = (2, 101);
    world.tcp(segment);
    assert_eq!(
        world.established(v6),
        if world.mode == Mode::Nat { 2 } else { 1 }
    );
    at_backend
}

#[test]
fn an_error_about_a_backends_packet_reaches_the_backend() {
    for v6 in [false, true] {
        for mode in [Mode::Nat, Mode::Dsr] {
            let mut world = World::new(mode, 1);
            let at_backend = open(&mut world, v6);
            let client = client(v6);
            // A router on the client's side gives back the packet VIP → client;
            // eight bytes of TCP are all it has to.
            let sent = tcp(
                MACS,
                Segment {
                    ends: Ends {
                        from: client.to,
                        to: client.from,
                    },
                    flags: ACK | PSH,
                    seq: 101,
                    ack: 2,
                    payload: 1400,
                },
            );
            let header = if v6 { 40 } else { 20 };
            let router = address(if v6 { "fd00::f" } else { "10.0.0.15" });
            let embedded = &sent[14..14 + header + 8];
            let mut error = error(v6, embedded);
            if mode == Mode::Nat && !v6 {
                // One about the length would stay with us, for all clients' sake.
                error.code = 1;
                error.rest = [0; 4];
            }
            let out = world.run(&icmp(MACS, router, client.to.ip(), &error));
            let seen = out.seen();
            assert_eq!(
                seen.macs,
                (backend_mac(World::index(0, v6)), OUR_MAC),
                "{}",
                world.state()
            );
            let message = seen.icmp.expect("an ICMP message");
            assert_eq!(message.rest, error.rest);
            if mode == Mode::Dsr {
                assert_eq!(message.payload, embedded);
                assert_eq!(seen.ends.from.ip(), router);
                continue;
            }
            assert_eq!(seen.ends.to.ip(), at_backend.to.ip());
            let (from, to, ports) = inside(&message.payload, v6);
            assert_eq!((from, to), (at_backend.to.ip(), at_backend.from.ip()));
            assert_eq!(ports, (80, at_backend.from.port()));
            assert!(world.verdicts().is_empty());
        }
    }
}

#[test]
fn an_error_about_a_clients_packet_reaches_the_client() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 1);
        let at_backend = open(&mut world, v6);
        let client = client(v6);
        let sent = tcp(
            MACS,
            Segment {
                ends: at_backend,
                flags: ACK,
                seq: 2,
                ack: 101,
                payload: 1400,
            },
        );
        let header = if v6 { 40 } else { 20 };
        let router = address(if v6 { "fd00:1::f" } else { "10.0.1.15" });
        let source = World::nat_source(v6);
        let out = world.run(&icmp(
            MACS,
            router,
            source,
            &error(v6, &sent[14..14 + header + 8]),
        ));
        let seen = out.seen();
        assert_eq!(
            (seen.macs, seen.ends.from.ip(), seen.ends.to.ip()),
            ((CLIENT_MAC, OUR_MAC), client.to.ip(), client.from.ip())
        );
        let message = seen.icmp.expect("an ICMP message");
        assert_eq!(
            inside(&message.payload, v6),
            (client.from.ip(), client.to.ip(), (client.from.port(), 80))
        );
        assert_eq!(
            (message.kind, message.code, message.rest),
            if v6 {
                (2, 0, [0, 0, 5, 20])
            } else {
                (3, 4, [0, 0, 5, 20])
            }
        );
    }
}

#[test]
fn an_error_about_nothing_of_ours_passes_untouched() {
    let mut world = World::new(Mode::Nat, 1);
    let stranger = tcp(
        MACS,
        Segment {
            ends: crate::frame::ends("10.0.0.100:80", "10.0.0.9:7"),
            flags: ACK,
            seq: 1,
            ack: 1,
            payload: 0,
        },
    );
    for len in [0, 4, 19, 20, 24, 28] {
        let frame = icmp(
            MACS,
            address("10.0.0.15"),
            address("10.0.0.100"),
            &error(false, &stranger[14..14 + len]),
        );
        let out = world.run(&frame);
        assert_eq!(
            (out.action, &out.frame),
            (PASS, &frame),
            "{len} bytes embedded"
        );
    }
}

/// The addresses and ports of an embedded packet, whose IPv4 header checksum
/// must be right.
fn inside(packet: &[u8], v6: bool) -> (IpAddr, IpAddr, (u16, u16)) {
    let (from, to, at) = if v6 {
        let (header, _) = etherparse::Ipv6Header::from_slice(packet).expect("IPv6");
        (
            IpAddr::from(header.source),
            IpAddr::from(header.destination),
            40,
        )
    } else {
        let (header, _) = etherparse::Ipv4Header::from_slice(packet).expect("IPv4");
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        (
            IpAddr::from(header.source),
            IpAddr::from(header.destination),
            20,
        )
    };
    let port = |i: usize| u16::from_be_bytes([packet[i], packet[i + 1]]);
    (from, to, (port(at), port(at + 2)))
}

#[test]
fn a_packet_too_big_for_the_tunnel_is_answered_with_the_size_that_fits() {
    // The limit is each CPU's own.
    let mut cpu = CpuSet::new();
    cpu.set(0);
    sched_setaffinity(None, &cpu).expect("to run on the first CPU");
    for v6 in [false, true] {
        let mut world = World::new(Mode::Ipip, 1);
        open(&mut world, v6);
        let client = client(v6);
        let headers = if v6 { 60 } else { 40 };
        let outer = if v6 { 40 } else { 20 };
        let mut send = |payload: usize| {
            let segment = Segment {
                ends: client,
                flags: ACK | PSH,
                seq: 2,
                ack: 101,
                payload,
            };
            world.tcp(segment)
        };
        let fits = send(1500 - outer - headers);
        assert_eq!(fits.frame.len(), 1514, "exactly the MTU");
        let out = send(1500 - outer - headers + 1);
        let seen = out.seen();
        assert_eq!(
            (seen.ends.from.ip(), seen.ends.to.ip()),
            (client.to.ip(), client.from.ip())
        );
        let message = seen.icmp.expect("an ICMP message");
        let [_, _, a, b] = message.rest;
        assert_eq!(usize::from(u16::from_be_bytes([a, b])), 1500 - outer);
        assert_eq!(
            (message.kind, message.code),
            if v6 { (2, 0) } else { (3, 4) }
        );
        let began = Instant::now();
        for _ in 0..2500 {
            send(1500);
        }
        let took = began.elapsed();
        let verdicts = world.verdicts();
        let count = |verdict| verdicts.get(verdict).copied().unwrap_or_default();
        let (sent, dropped) = (count("icmp_too_big"), count("drop_too_big"));
        assert_eq!(sent + dropped, 2501);
        // A thousand a second, and so two thousand at most where one second
        // follows another; an emulated CPU may not get there.
        let fast = took < Duration::from_secs(1);
        assert!(dropped > 0 || !fast, "no limit: {verdicts:?} in {took:?}");
    }
}
