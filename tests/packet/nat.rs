//! nat: both addresses are translated, both directions go through ebb.

use std::{collections::BTreeSet, net::SocketAddr};

use lb_common::abi::flow::REPLY;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{
    frame::{self, ACK, Ends, FIN, PSH, RST, SYN, Segment, ends},
    world::{CLIENT_MAC, Mode, OUR_MAC, Out, TX, VIP4, VIP6, World, backend_mac},
};

/// A client's connection, and what it looks like at the backend.
pub(crate) struct Connection {
    pub(crate) client: Ends,
    pub(crate) backend: u16,
    pub(crate) at_backend: Ends,
}

pub(crate) fn open(world: &mut World, from: &str, v6: bool) -> Connection {
    let vip = if v6 {
        format!("[{VIP6}]:80")
    } else {
        format!("{VIP4}:80")
    };
    let client = ends(from, &vip);
    let syn = Segment {
        ends: client,
        flags: SYN,
        seq: 1000,
        ack: 0,
        payload: 0,
    };
    let out = world.tcp(syn);
    let seen = out.seen();
    let backend = (0..8)
        .find(|b| World::backend_address(*b, v6) == seen.ends.to.ip())
        .unwrap_or_else(|| panic!("went to no backend: {seen:?}\n{}", world.state()));
    assert_eq!(out.action, TX);
    assert_eq!(seen.macs, (backend_mac(World::index(backend, v6)), OUR_MAC));
    assert_eq!(seen.ends.from.ip(), World::nat_source(v6));
    assert!((1024..=32_767).contains(&seen.ends.from.port()), "{seen:?}");
    assert_eq!(seen.hops, 63);

    let syn_ack = answer(world, seen.ends, SYN | ACK, 5000, 1001, 0);
    assert_eq!(
        (syn_ack.action, syn_ack.seen().macs),
        (TX, (CLIENT_MAC, OUR_MAC))
    );
    let segment = syn_ack.segment();
    assert_eq!(
        segment.ends,
        Ends {
            from: client.to,
            to: client.from
        }
    );

    let ack = world.tcp(Segment {
        ends: client,
        flags: ACK,
        seq: 1001,
        ack: 5001,
        payload: 0,
    });
    assert_eq!(ack.seen().ends, seen.ends, "{}", world.state());
    Connection {
        client,
        backend,
        at_backend: seen.ends,
    }
}

/// A segment from the backend's side of a connection whose packets arrive there
/// as `ends`.
pub(crate) fn answer(
    world: &mut World,
    ends: Ends,
    flags: u8,
    seq: u32,
    ack: u32,
    payload: usize,
) -> Out {
    let back = Ends {
        from: ends.to,
        to: ends.from,
    };
    world.tcp(Segment {
        ends: back,
        flags,
        seq,
        ack,
        payload,
    })
}

#[test]
fn a_connection_is_translated_both_ways_and_counted_once() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 4);
        let from = if v6 {
            "[fd00::9]:40000"
        } else {
            "10.0.0.9:40000"
        };
        let connection = open(&mut world, from, v6);
        let index = World::index(connection.backend, v6);
        assert_eq!(world.established(v6), 2, "{}", world.state());

        let data = world.tcp(Segment {
            ends: connection.client,
            flags: ACK | PSH,
            seq: 1001,
            ack: 5001,
            payload: 100,
        });
        assert_eq!(
            data.segment(),
            Segment {
                ends: connection.at_backend,
                flags: ACK | PSH,
                seq: 1001,
                ack: 5001,
                payload: 100
            }
        );
        let reply = answer(
            &mut world,
            connection.at_backend,
            ACK | PSH,
            5001,
            1101,
            1400,
        );
        let back = Ends {
            from: connection.client.to,
            to: connection.client.from,
        };
        assert_eq!(
            reply.segment(),
            Segment {
                ends: back,
                flags: ACK | PSH,
                seq: 5001,
                ack: 1101,
                payload: 1400
            }
        );

        let counters = world.counters(index);
        assert_eq!((counters.packets_in, counters.packets_out), (3, 2));
        assert_eq!((counters.opened, counters.closed), (1, 0));
        assert!(world.verdicts().is_empty(), "{}", world.state());
    }
}

#[test]
fn two_fins_close_the_flow_once_and_the_last_ack_still_passes() {
    let mut world = World::new(Mode::Nat, 4);
    let c = open(&mut world, "10.0.0.9:40000", false);
    world.tcp(Segment {
        ends: c.client,
        flags: FIN | ACK,
        seq: 1001,
        ack: 5001,
        payload: 0,
    });
    assert_eq!(world.counters(c.backend).closed, 0, "half closed is open");
    answer(&mut world, c.at_backend, FIN | ACK, 5001, 1002, 0);
    assert_eq!(world.counters(c.backend).closed, 1);
    let last = world.tcp(Segment {
        ends: c.client,
        flags: ACK,
        seq: 1002,
        ack: 5002,
        payload: 0,
    });
    assert_eq!(last.seen().ends, c.at_backend);
    answer(&mut world, c.at_backend, FIN | ACK, 5001, 1002, 0);
    assert_eq!(world.counters(c.backend).closed, 1, "counted once");
}

#[test]
fn a_syn_on_a_closed_tuple_begins_anew_and_one_on_a_live_flow_does_not_move_it() {
    let mut world = World::new(Mode::Nat, 4);
    let c = open(&mut world, "10.0.0.9:40000", false);
    let syn = Segment {
        ends: c.client,
        flags: SYN,
        seq: 90_000,
        ack: 0,
        payload: 0,
    };
    // The table now names another backend for everything.
    let other = (c.backend + 1) % 4;
    world.swap_tables(|b| b == other);
    assert_eq!(
        world.tcp(syn).seen().ends,
        c.at_backend,
        "a duplicate SYN moved a live flow"
    );

    world.tcp(Segment {
        ends: c.client,
        flags: FIN | ACK,
        seq: 1001,
        ack: 5001,
        payload: 0,
    });
    answer(&mut world, c.at_backend, FIN | ACK, 5001, 1002, 0);
    let again = world.tcp(syn).seen();
    assert_eq!(
        again.ends.to.ip(),
        World::backend_address(other, false),
        "{}",
        world.state()
    );
    let counters = world.counters(c.backend);
    assert_eq!((counters.opened, counters.closed), (1, 1));
}

#[test]
fn a_disowned_flow_is_answered_with_exact_resets_at_both_ends() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 4);
        let c = open(
            &mut world,
            if v6 {
                "[fd00::9]:40000"
            } else {
                "10.0.0.9:40000"
            },
            v6,
        );
        world.put_backend(c.backend, v6, |b| b.epoch += 1);

        let to_client = world.tcp(Segment {
            ends: c.client,
            flags: ACK | PSH,
            seq: 1001,
            ack: 6234,
            payload: 10,
        });
        let back = Ends {
            from: c.client.to,
            to: c.client.from,
        };
        assert_eq!(
            (to_client.action, to_client.seen().macs),
            (TX, (CLIENT_MAC, OUR_MAC))
        );
        assert_eq!(
            to_client.segment(),
            Segment {
                ends: back,
                flags: RST,
                seq: 6234,
                ack: 0,
                payload: 0
            }
        );

        let to_backend = answer(&mut world, c.at_backend, ACK, 5001, 1011, 0);
        assert_eq!(
            to_backend.segment(),
            Segment {
                ends: c.at_backend,
                flags: RST,
                seq: 1011,
                ack: 0,
                payload: 0
            }
        );
        assert_eq!(
            world.verdicts(),
            [("reset_disowned", 2)].into(),
            "{}",
            world.state()
        );
    }
}

#[test]
fn what_no_flow_knows_is_reset_at_once_and_a_reset_is_never_answered() {
    let mut world = World::new(Mode::Nat, 4);
    let client = ends("10.0.0.9:40000", "10.0.0.100:80");
    let out = world.tcp(Segment {
        ends: client,
        flags: ACK,
        seq: 7,
        ack: 77,
        payload: 5,
    });
    assert_eq!(
        out.segment(),
        Segment {
            ends: Ends {
                from: client.to,
                to: client.from
            },
            flags: RST,
            seq: 77,
            ack: 0,
            payload: 0
        }
    );
    world.tcp(Segment {
        ends: client,
        flags: RST,
        seq: 7,
        ack: 0,
        payload: 0,
    });
    assert_eq!(
        world.verdicts(),
        [("drop_no_flow", 1), ("reset_no_flow", 1)].into()
    );
}

#[test]
fn with_no_backend_in_service_a_syn_is_reset_with_its_number() {
    let mut world = World::new(Mode::Nat, 2);
    for b in 0..2 {
        world.put_backend(b, false, |b| b.flags &= !lb_common::abi::backend::TAKES_NEW);
    }
    let client = ends("10.0.0.9:40000", "10.0.0.100:80");
    let out = world.tcp(Segment {
        ends: client,
        flags: SYN,
        seq: 7,
        ack: 0,
        payload: 0,
    });
    let back = Ends {
        from: client.to,
        to: client.from,
    };
    assert_eq!(
        out.segment(),
        Segment {
            ends: back,
            flags: RST | ACK,
            seq: 0,
            ack: 8,
            payload: 0
        }
    );
    assert_eq!(world.verdicts(), [("reset_no_backend", 1)].into());
}

#[test]
fn a_flag_alone_takes_new_flows_away_before_the_table_follows() {
    let mut world = World::new(Mode::Nat, 4);
    world.put_backend(2, false, |b| b.flags &= !lb_common::abi::backend::TAKES_NEW);
    for port in 40_000..40_400 {
        let from = SocketAddr::from(([10, 0, 0, 9], port)).to_string();
        let c = open_half(&mut world, &from);
        assert_ne!(c, World::backend_address(2, false));
    }
    assert!(world.verdicts().is_empty(), "{:?}", world.verdicts());
}

fn open_half(world: &mut World, from: &str) -> std::net::IpAddr {
    let syn = Segment {
        ends: ends(from, "10.0.0.100:80"),
        flags: SYN,
        seq: 1,
        ack: 0,
        payload: 0,
    };
    world.tcp(syn).seen().ends.to.ip()
}

#[test]
fn a_full_table_refuses_the_new_and_keeps_the_old() {
    let mut world = World::new(Mode::Nat, 4);
    // 64 entries, two per flow.
    let first = open(&mut world, "10.0.0.9:40000", false);
    for port in 40_001..40_032 {
        open(&mut world, &format!("10.0.0.9:{port}"), false);
    }
    assert_eq!(world.established(false), 64);
    let client = ends("10.0.0.9:50000", "10.0.0.100:80");
    let at_backend = world
        .tcp(Segment {
            ends: client,
            flags: SYN,
            seq: 1000,
            ack: 0,
            payload: 0,
        })
        .seen()
        .ends;
    answer(&mut world, at_backend, SYN | ACK, 5000, 1001, 0);
    let refused = world.tcp(Segment {
        ends: client,
        flags: ACK,
        seq: 1001,
        ack: 5001,
        payload: 0,
    });
    assert_eq!(refused.segment().flags, RST);
    assert_eq!(world.verdicts(), [("reset_table_full", 1)].into());
    let old = world.tcp(Segment {
        ends: first.client,
        flags: ACK,
        seq: 1001,
        ack: 5001,
        payload: 1,
    });
    assert_eq!(old.seen().ends, first.at_backend);
}

#[test]
fn a_forged_ack_does_not_establish_a_flow() {
    let mut world = World::new(Mode::Nat, 4);
    let client = ends("10.0.0.9:40000", "10.0.0.100:80");
    let at_backend = world
        .tcp(Segment {
            ends: client,
            flags: SYN,
            seq: 1000,
            ack: 0,
            payload: 0,
        })
        .seen()
        .ends;
    world.tcp(Segment {
        ends: client,
        flags: ACK,
        seq: 1001,
        ack: 12_345,
        payload: 0,
    });
    answer(&mut world, at_backend, SYN | ACK, 5_000_000, 1001, 0);
    world.tcp(Segment {
        ends: client,
        flags: ACK,
        seq: 1001,
        ack: 12_345,
        payload: 0,
    });
    assert_eq!(world.established(false), 0);
    assert_eq!(world.verdicts(), [("reset_no_flow", 2)].into());
}

#[test]
fn two_cpus_at_once_never_bind_one_port_twice() {
    const ROUNDS: usize = 1000;
    const SYNS: u16 = 24;
    let mut world = World::new(Mode::Nat, 1);
    // So few that both often try the same.
    world.set_nat_ports(1024, 1024 + SYNS - 1);
    for round in 0..ROUNDS {
        world.clear();
        let start = std::sync::Barrier::new(2);
        std::thread::scope(|scope| {
            for (cpu, client) in [(0, "10.0.0.8"), (1, "10.0.0.9")] {
                let (world, start) = (&world, &start);
                scope.spawn(move || {
                    let mut cpus = CpuSet::new();
                    cpus.set(cpu);
                    // On a machine of one CPU they take turns.
                    let _ = sched_setaffinity(None, &cpus);
                    let frames: Vec<_> = (0..SYNS)
                        .map(|n| {
                            let segment = Segment {
                                ends: ends(&format!("{client}:{}", 40_000 + n), "10.0.0.100:80"),
                                flags: SYN,
                                seq: 7,
                                ack: 0,
                                payload: 0,
                            };
                            frame::tcp((CLIENT_MAC, OUR_MAC), segment)
                        })
                        .collect();
                    start.wait();
                    for frame in &frames {
                        world.run_beside(frame);
                    }
                });
            }
        });
        let entries = world.flows4("HALF_V4");
        let (replies, forwards): (Vec<_>, Vec<_>) =
            entries.iter().partition(|(_, f)| f.state & REPLY != 0);
        let ports: BTreeSet<_> = forwards.iter().map(|(_, f)| f.ports.source()).collect();
        let bound: BTreeSet<_> = replies.iter().map(|(k, _)| k.ports.destination()).collect();
        assert_eq!(ports.len(), forwards.len(), "round {round}: {entries:#?}");
        assert_eq!(bound.len(), replies.len(), "round {round}: {entries:#?}");
        // What a backend answers to that port goes to the client who has it.
        for (key, flow) in &forwards {
            let reply = replies
                .iter()
                .find(|(k, _)| k.ports == flow.ports.swapped())
                .unwrap_or_else(|| panic!("round {round}: no reply entry of {key:?}"));
            assert_eq!(reply.1.peer, key.source, "round {round}: {entries:#?}");
            assert_eq!(reply.1.ports, key.ports.swapped(), "round {round}");
        }
    }
}
