//! nat: which port a new flow gets, and from whom.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    frame::{self, ACK, Ends, FIN, PSH, RST, SYN, Segment, ends},
    nat::{Connection, answer, open},
    world::{CLIENT_MAC, Mode, OUR_MAC, VIP4, VIP6, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

/// A world with one backend and so many ports towards it.
fn with_ports(ports: u16) -> World {
    let mut world = World::with_tables(Mode::Nat, 1, 4096, 8192);
    world.set_nat_ports(1024, 1023 + ports);
    world
}

/// The nth client, and the VIP.
fn client(n: u16, v6: bool) -> Ends {
    if v6 {
        ends(&from(n, v6), &format!("[{VIP6}]:80"))
    } else {
        ends(&from(n, v6), &format!("{VIP4}:80"))
    }
}

fn from(n: u16, v6: bool) -> String {
    let port = 20_000 + n;
    if v6 {
        format!("[fd00::9]:{port}")
    } else {
        format!("10.0.0.9:{port}")
    }
}

/// The client's SYN as the backend sees it, or `None` if it was refused.
fn syn(world: &mut World, client: Ends) -> Option<Ends> {
    let out = world.tcp(Segment {
        ends: client,
        flags: SYN,
        seq: 1000,
        ack: 0,
        payload: 0,
    });
    let segment = out.segment();
    if segment.ends.to == client.from {
        assert_eq!((segment.flags, segment.ack), (RST | ACK, 1001));
        return None;
    }
    Some(segment.ends)
}

fn syn_ack(world: &mut World, at_backend: Ends) {
    answer(world, at_backend, SYN | ACK, 5000, 1001, 0);
}

fn from_client(world: &mut World, connection: &Connection, flags: u8, seq: u32, ack: u32) {
    let seen = world
        .tcp(Segment {
            ends: connection.client,
            flags,
            seq,
            ack,
            payload: 0,
        })
        .seen();
    assert_eq!(seen.ends, connection.at_backend, "{}", world.state());
}

/// Both ends close; who does first?
fn close(world: &mut World, connection: &Connection, backend_first: bool) {
    if backend_first {
        answer(world, connection.at_backend, FIN | ACK, 5001, 1001, 0);
        from_client(world, connection, FIN | ACK, 1001, 5002);
        answer(world, connection.at_backend, ACK, 5002, 1002, 0);
    } else {
        from_client(world, connection, FIN | ACK, 1001, 5001);
        answer(world, connection.at_backend, FIN | ACK, 5001, 1002, 0);
    }
}

fn port(ends: Ends) -> u16 {
    ends.from.port()
}

#[test]
fn every_port_carries_a_connection_and_only_then_is_one_refused() {
    for v6 in [false, true] {
        let mut world = with_ports(500);
        let ports: BTreeSet<_> = (0..500)
            .map(|n| port(open(&mut world, &from(n, v6), v6).at_backend))
            .collect();
        assert!(ports.into_iter().eq(1024..1524));
        assert_eq!(
            syn(&mut world, client(600, v6)),
            None,
            "nobody gives his up"
        );
        assert_eq!(world.verdicts(), [("reset_no_nat_port", 1)].into());
        // One ends, and its port is found among all the others.
        let n = 123;
        let connection = Connection {
            client: client(n, v6),
            backend: 0,
            at_backend: again(&mut world, client(n, v6)),
        };
        close(&mut world, &connection, false);
        from_client(&mut world, &connection, ACK, 1002, 5002);
        let next = open(&mut world, &from(601, v6), v6);
        assert_eq!(port(next.at_backend), port(connection.at_backend));
        assert_eq!(world.established(v6), 1000, "{}", world.state());
    }
}

/// Where the packets of an open connection go.
fn again(world: &mut World, client: Ends) -> Ends {
    let out = world.tcp(Segment {
        ends: client,
        flags: ACK,
        seq: 1001,
        ack: 5001,
        payload: 0,
    });
    out.segment().ends
}

#[test]
fn a_handshake_gives_its_port_up_the_longest_silent_first_and_the_unanswered_before_the_answered() {
    for v6 in [false, true] {
        let mut world = with_ports(100);
        let kept: Vec<_> = (0..20)
            .map(|n| open(&mut world, &from(n, v6), v6))
            .collect();
        let mut answered = Vec::new();
        let mut unanswered = Vec::new();
        for n in 20..100 {
            let at_backend = syn(&mut world, client(n, v6)).expect("a free port");
            if n % 2 == 0 {
                syn_ack(&mut world, at_backend);
                answered.push(at_backend);
            } else {
                unanswered.push(at_backend);
            }
        }
        // In the order in which they came. Those that come now are answered at once, and
        // spared: they may be just about to be acknowledged.
        std::thread::sleep(Duration::from_millis(1100));
        for (n, given) in (200..).zip(unanswered.iter().chain(&answered)) {
            let at_backend = syn(&mut world, client(n, v6)).expect("somebody's port");
            syn_ack(&mut world, at_backend);
            assert_eq!(port(at_backend), port(*given), "the {n}th");
        }
        // Whoever lost his port is told when he goes on, and nobody else is disturbed.
        let late = world.tcp(Segment {
            ends: client(20, v6),
            flags: ACK,
            seq: 1001,
            ack: 5001,
            payload: 0,
        });
        assert_eq!(late.segment().flags & RST, RST);
        for connection in &kept {
            from_client(&mut world, connection, ACK | PSH, 1001, 5001);
        }
        let last = client(279, v6);
        let proof = world.tcp(Segment {
            ends: last,
            flags: ACK,
            seq: 1001,
            ack: 5001,
            payload: 0,
        });
        assert_eq!(proof.segment().ends.to.ip(), World::backend_address(0, v6));
        assert_eq!(world.verdicts(), [("reset_no_flow", 1)].into());
        assert_eq!(world.established(v6), 42, "{}", world.state());
        let index = World::index(0, v6);
        let books = world.counters(index);
        assert_eq!((books.opened, books.closed), (21, 0));
    }
}

#[test]
fn a_connection_that_its_client_has_closed_gives_its_port_up_with_the_last_acknowledgement() {
    for v6 in [false, true] {
        let mut world = with_ports(1);
        let connection = open(&mut world, &from(1, v6), v6);
        close(&mut world, &connection, false);
        assert_eq!(syn(&mut world, client(2, v6)), None, "the backend waits");
        from_client(&mut world, &connection, ACK, 1002, 5002);
        open(&mut world, &from(3, v6), v6);
        assert_eq!(world.established(v6), 2, "{}", world.state());
        let books = world.counters(World::index(0, v6));
        assert_eq!((books.opened, books.closed), (2, 1));
    }
}

#[test]
fn a_connection_that_was_reset_or_that_its_backend_has_closed_gives_its_port_up() {
    for v6 in [false, true] {
        for reset in [false, true] {
            let mut world = with_ports(1);
            let connection = open(&mut world, &from(1, v6), v6);
            if reset {
                answer(&mut world, connection.at_backend, RST, 5001, 0, 0);
            } else {
                close(&mut world, &connection, true);
            }
            open(&mut world, &from(2, v6), v6);
            assert_eq!(world.established(v6), 2, "{}", world.state());
        }
    }
}

#[test]
fn a_late_fin_within_the_linger_is_forwarded_where_ports_are_left() {
    let mut world = with_ports(2);
    let connection = open(&mut world, &from(1, false), false);
    close(&mut world, &connection, true);
    open(&mut world, &from(2, false), false);
    // The last acknowledgement was lost on its way to the client.
    from_client(&mut world, &connection, FIN | ACK, 1001, 5002);
    assert!(world.verdicts().is_empty(), "{:?}", world.verdicts());
}

#[test]
fn a_conversation_of_one_datagram_gives_its_port_up_answered_or_not() {
    for v6 in [false, true] {
        let mut world = with_ports(8);
        let mut said = 0;
        let mut say = |world: &mut World, n: u16| {
            said += 1;
            world
                .run(&frame::udp(MACS, client(n, v6), b"question"))
                .seen()
        };
        // Two go on, three are answered, three are not.
        for n in 0..8 {
            let ends = say(&mut world, n).ends;
            if n < 5 {
                let back = Ends {
                    from: ends.to,
                    to: ends.from,
                };
                world.run(&frame::udp(MACS, back, b"answer"));
            }
            if n < 2 {
                say(&mut world, n);
            }
        }
        let talks = [say(&mut world, 0).ends, say(&mut world, 1).ends].map(port);
        for n in 100..150 {
            let seen = say(&mut world, n);
            assert!(seen.icmp.is_none(), "{n}: {:?}", world.verdicts());
            assert!(!talks.contains(&port(seen.ends)));
            let back = Ends {
                from: seen.ends.to,
                to: seen.ends.from,
            };
            world.run(&frame::udp(MACS, back, b"answer"));
        }
        assert_eq!(
            [say(&mut world, 0).ends, say(&mut world, 1).ends].map(port),
            talks
        );
        assert!(world.verdicts().is_empty(), "{:?}", world.verdicts());
        let books = world.counters(World::index(0, v6));
        assert_eq!((books.opened, books.closed), (55, 47));
        assert_eq!(world.established(v6), 16, "{}", world.state());
    }
}

#[test]
fn conversations_that_go_on_keep_their_ports_and_the_next_is_refused() {
    let mut world = with_ports(8);
    for n in 0..8 {
        let ends = world
            .run(&frame::udp(MACS, client(n, false), b"question"))
            .seen()
            .ends;
        let back = Ends {
            from: ends.to,
            to: ends.from,
        };
        world.run(&frame::udp(MACS, back, b"answer"));
        world.run(&frame::udp(MACS, client(n, false), b"thanks"));
    }
    let next = world.run(&frame::udp(MACS, client(9, false), b"question"));
    assert!(next.seen().icmp.is_some(), "{}", world.state());
    assert_eq!(world.verdicts(), [("unreachable_no_nat_port", 1)].into());
}

#[test]
fn one_port_serves_two_backends_and_two_protocols_at_once() {
    let mut world = World::with_tables(Mode::Nat, 2, 4096, 8192);
    world.set_nat_ports(1024, 1033);
    let mut at = BTreeSet::new();
    for n in 0..200 {
        let client = client(n, false);
        if let Some(ends) = syn(&mut world, client) {
            at.insert((6, ends.to.ip(), port(ends)));
        }
        let seen = world.run(&frame::udp(MACS, client, b"x")).seen();
        if seen.icmp.is_none() {
            at.insert((17, seen.ends.to.ip(), port(seen.ends)));
        }
    }
    assert_eq!(at.len(), 40, "{at:?}");
}

#[test]
fn ports_are_not_given_in_an_order_that_a_stranger_can_tell() {
    let mut world = with_ports(1000);
    let ports: Vec<_> = (0..100)
        .map(|n| i32::from(port(syn(&mut world, client(n, false)).expect("a port"))))
        .collect();
    let steps: BTreeSet<_> = ports.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(steps.len() > 90, "{ports:?}");
}

#[test]
fn a_port_that_has_become_free_comes_last() {
    let mut world = with_ports(50);
    let first = syn(&mut world, client(0, false)).expect("a port");
    world.tcp(Segment {
        ends: client(0, false),
        flags: RST,
        seq: 1001,
        ack: 0,
        payload: 0,
    });
    for n in 1..50 {
        let next = syn(&mut world, client(n, false)).expect("a port");
        assert_ne!(port(next), port(first), "the {n}th");
    }
    let again = syn(&mut world, client(50, false)).expect("a port");
    assert_eq!(port(again), port(first));
}

#[test]
fn a_client_that_comes_back_to_the_same_backend_has_the_port_that_it_had() {
    for v6 in [false, true] {
        for backend_first in [false, true] {
            let mut world = with_ports(100);
            let first = open(&mut world, &from(1, v6), v6);
            close(&mut world, &first, backend_first);
            // The same client port, while the old flow lingers.
            let second = open(&mut world, &from(1, v6), v6);
            assert_eq!(second.at_backend, first.at_backend);
            let other = open(&mut world, &from(2, v6), v6);
            assert_ne!(port(other.at_backend), port(first.at_backend));
        }
    }
}

/// RFC 9293, section 3.10.7.4: a connection that is still known answers another's SYN with an
/// acknowledgement. Where no RST ends it (RFC 1337), that port is of no use for now.
#[test]
fn a_syn_that_met_an_earlier_connection_at_the_backend_goes_by_another_port_next_time() {
    for v6 in [false, true] {
        let mut world = with_ports(100);
        let client = client(1, v6);
        let first = syn(&mut world, client).unwrap();
        answer(&mut world, first, ACK, 9000, 777, 0);
        // The client hears of it, and its RST for that connection is forwarded.
        let reset = world.tcp(Segment {
            ends: client,
            flags: RST,
            seq: 777,
            ack: 0,
            payload: 0,
        });
        assert_eq!(reset.seen().ends, first, "{}", world.state());
        let second = syn(&mut world, client).unwrap();
        assert_ne!(port(second), port(first), "{}", world.state());
        // And stays there, answered.
        syn_ack(&mut world, second);
        assert_eq!(syn(&mut world, client), Some(second), "{}", world.state());
        let connection = Connection {
            client,
            backend: World::index(0, v6),
            at_backend: second,
        };
        from_client(&mut world, &connection, ACK, 1001, 5001);
        assert_eq!(world.established(v6), 2, "{}", world.state());
    }
}

/// Whoever forges such an acknowledgement ends no handshake.
#[test]
fn p10_a_stray_acknowledgement_does_not_end_a_handshake() {
    for v6 in [false, true] {
        let mut world = with_ports(100);
        let client = client(1, v6);
        let at_backend = syn(&mut world, client).unwrap();
        answer(&mut world, at_backend, ACK, 9000, 777, 0);
        syn_ack(&mut world, at_backend);
        let connection = Connection {
            client,
            backend: World::index(0, v6),
            at_backend,
        };
        from_client(&mut world, &connection, ACK, 1001, 5001);
        assert_eq!(world.established(v6), 2, "{}", world.state());
        close(&mut world, &connection, true);
        assert_eq!(
            world.counters(World::index(0, v6)).closed,
            1,
            "{}",
            world.state()
        );
    }
}
