//! dsr and ipip: only the client's packets pass by.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crate::{
    frame::{ACK, FIN, PSH, SYN, Segment, ends, with_hops},
    world::{Mode, OUR_MAC, REDIRECT, TX, VIP4, VIP6, World, backend_mac},
};

#[test]
fn dsr_changes_the_mac_addresses_and_the_hops_left_and_nothing_else() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Dsr, 4);
        let client = if v6 {
            ends("[fd00::9]:40000", &format!("[{VIP6}]:80"))
        } else {
            ends("10.0.0.9:40000", &format!("{VIP4}:80"))
        };
        let mut backend = None;
        for (flags, seq, ack, payload) in [
            (SYN, 1000, 0, 0),
            (ACK, 1001, 5001, 0),
            (ACK | PSH, 1001, 5001, 500),
        ] {
            let segment = Segment {
                ends: client,
                flags,
                seq,
                ack,
                payload,
            };
            let sent = crate::frame::tcp((crate::world::CLIENT_MAC, OUR_MAC), segment);
            let out = world.run(&sent);
            assert_eq!(out.frame[12..], with_hops(&sent, 63)[12..]);
            let seen = out.seen();
            assert_eq!(
                (seen.tcp, seen.hops),
                (Some(segment), 63),
                "{}",
                world.state()
            );
            assert!(matches!(out.action, TX | REDIRECT));
            assert_eq!(seen.macs.1, OUR_MAC);
            assert_eq!(
                *backend.get_or_insert(seen.macs.0),
                seen.macs.0,
                "the flow moved"
            );
        }
        assert_eq!(world.established(v6), 1);
        let index = (0..4)
            .map(|b| World::index(b, v6))
            .find(|i| Some(backend_mac(*i)) == backend)
            .expect("one of ours");
        let counters = world.counters(index);
        assert_eq!(
            (counters.packets_in, counters.opened, counters.closed),
            (3, 1, 0)
        );
    }
}

#[test]
fn a_dsr_flow_ends_by_the_acknowledgement_of_the_backends_fin() {
    let mut world = World::new(Mode::Dsr, 1);
    let client = ends("10.0.0.9:40000", "10.0.0.100:80");
    let mut send = |flags, seq, ack| {
        world.tcp(Segment {
            ends: client,
            flags,
            seq,
            ack,
            payload: 0,
        });
        world.counters(0)
    };
    send(SYN, 1000, 0);
    send(ACK, 1001, 5001);
    let fin = send(FIN | ACK, 1001, 5001);
    assert_eq!((fin.closing, fin.closed), (1, 0));
    assert_eq!(
        send(ACK, 1002, 6001).closed,
        0,
        "data may still come from the backend"
    );
    assert_eq!(send(ACK, 1002, 6002).closed, 1);
    assert_eq!(send(ACK, 1002, 6002).closed, 1, "counted once");
}

#[test]
fn a_dsr_flow_that_we_do_not_know_is_adopted_by_the_table() {
    let mut world = World::new(Mode::Dsr, 4);
    // A machine that stumbles for half a second between the two packets makes
    // the flow settle: then once more, from another port.
    let adopted = (40_000..40_010).any(|port| adopt(&mut world, port) < SETTLED / 2);
    assert!(adopted, "no two packets went within half a second");
    assert!(world.verdicts().is_empty());
}

/// After which an adopted flow counts as established.
const SETTLED: Duration = Duration::from_secs(1);

/// Two packets of a flow that nobody knows; how long they took.
fn adopt(world: &mut World, port: u16) -> Duration {
    let client = ends(&format!("10.0.0.9:{port}"), "10.0.0.100:80");
    let begun = Instant::now();
    let first = world
        .tcp(Segment {
            ends: client,
            flags: ACK,
            seq: 9,
            ack: 8,
            payload: 3,
        })
        .seen();
    let second = world
        .tcp(Segment {
            ends: client,
            flags: ACK,
            seq: 12,
            ack: 8,
            payload: 3,
        })
        .seen();
    let took = begun.elapsed();
    assert_eq!(first.macs, second.macs);
    if took < SETTLED / 2 {
        let tuples = world.flows4("FLOWS_V4");
        let known = tuples.iter().any(|(k, _)| k.ports.source() == port);
        assert!(!known, "one packet is no proof of a flow");
    }
    took
}

#[test]
fn ipip_puts_an_outer_header_before_the_packet_and_takes_a_hop_of_it() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Ipip, 4);
        let client = if v6 {
            ends("[fd00::9]:40000", &format!("[{VIP6}]:80"))
        } else {
            ends("10.0.0.9:40000", &format!("{VIP4}:80"))
        };
        for (flags, seq, ack, payload) in [
            (SYN, 1000, 0, 0),
            (ACK, 1001, 5001, 0),
            (ACK | PSH, 1001, 5001, 500),
        ] {
            let segment = Segment {
                ends: client,
                flags,
                seq,
                ack,
                payload,
            };
            let inner = crate::frame::tcp((crate::world::CLIENT_MAC, OUR_MAC), segment);
            let out = world.run(&inner);
            let outer = if v6 { 40 } else { 20 };
            let inner = with_hops(&inner, 63);
            assert_eq!(out.frame[14 + outer..], inner[14..], "{}", world.state());
            let seen = out.seen();
            assert!((0..4).any(|b| World::backend_address(b, v6) == seen.ends.to.ip()));
            let protocol = out.frame[if v6 { 14 + 6 } else { 14 + 9 }];
            assert_eq!(protocol, if v6 { 41 } else { 4 });
        }
        assert_eq!(world.established(v6), 1);
    }
}

#[test]
fn ipip_varies_the_outer_source_by_flow_and_keeps_it_for_a_flow() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Ipip, 1);
        let mut sources = std::collections::HashSet::new();
        for port in 40_000..40_064_u16 {
            let client = if v6 {
                ends(&format!("[fd00::9]:{port}"), &format!("[{VIP6}]:80"))
            } else {
                ends(&format!("10.0.0.9:{port}"), &format!("{VIP4}:80"))
            };
            let mut source = |(flags, ack)| {
                let segment = Segment {
                    ends: client,
                    flags,
                    seq: 1000,
                    ack,
                    payload: 0,
                };
                world.tcp(segment).seen().ends.from.ip()
            };
            let of_flow = [(SYN, 0), (ACK, 5001), (ACK | PSH, 5001)].map(&mut source);
            assert!(of_flow.iter().all(|s| *s == of_flow[0]), "{of_flow:?}");
            sources.insert(of_flow[0]);
        }
        // The bits that the source has itself leave eight to vary, or more.
        assert!(sources.len() > 40, "{sources:?}");
    }
}

#[test]
fn among_half_open_flows_the_one_that_was_silent_for_longest_makes_room() {
    // The clock of flows moves in steps of at most 10 ms, and lags by two.
    const MOMENT: Duration = Duration::from_millis(35);
    const WAYS: u16 = lb_common::abi::half_open::WAYS as u16;
    let mut world = World::with_tables(Mode::Dsr, 1, 64, WAYS.into());
    let syn = |port: u16| Segment {
        ends: ends(&format!("10.0.0.9:{port}"), &format!("{VIP4}:80")),
        flags: SYN,
        seq: 1000,
        ack: 0,
        payload: 0,
    };
    let established = syn(40_100);
    world.tcp(established);
    world.tcp(Segment {
        flags: ACK,
        seq: 1001,
        ack: 5001,
        ..established
    });
    // One bucket, full; then the first speaks again, and a ninth comes.
    for port in (40_000..40_000 + WAYS).chain([40_000, 40_050]) {
        world.tcp(syn(port));
        std::thread::sleep(MOMENT);
    }
    let entries = world.flows4("HALF_V4");
    let found: BTreeSet<_> = entries.iter().map(|(k, _)| k.ports.source()).collect();
    let expected: BTreeSet<_> = (40_000..40_000 + WAYS)
        .chain([40_050])
        .filter(|port| *port != 40_001)
        .collect();
    assert_eq!(found, expected, "{}", world.state());
    assert_eq!(world.established(false), 1, "{}", world.state());
}
