//! P6: full tables.

use lb_common::abi::backend::over_share;

use crate::{
    frame::{ACK, Ends, PSH, RST, SYN},
    hostile::{backend_of, client, segment, turned},
    world::{DROP, Mode, TX, World},
};

/// Opens as many flows as there is room for.
fn fill(world: &mut World, v6: bool, room: u16) {
    for port in 0..room {
        let mut ends = client(v6);
        ends.from.set_port(1000 + port);
        world.tcp(segment(ends, SYN, 7, 0));
        world.tcp(segment(ends, ACK, 8, 8));
    }
    assert_eq!(world.established(v6), usize::from(room));
}

fn newcomer(v6: bool) -> Ends {
    let mut ends = client(v6);
    ends.from.set_port(50_000);
    ends
}

#[test]
fn p6_dsr_and_ipip_forward_by_the_maglev_table_when_the_table_of_flows_is_full() {
    for mode in [Mode::Dsr, Mode::Ipip] {
        for v6 in [false, true] {
            let mut world = World::with_tables(mode, 4, 64, 1024);
            fill(&mut world, v6, 64);
            let ends = newcomer(v6);
            let backend = backend_of(&world.tcp(segment(ends, SYN, 7, 0)), v6);
            for flags in [ACK, ACK | PSH, ACK | PSH] {
                let out = world.tcp(segment(ends, flags, 8, 8));
                assert_eq!(backend_of(&out, v6), backend, "{mode:?}: {}", world.state());
            }
            assert_eq!(world.established(v6), 64, "no old flow was dropped");
            assert!(world.verdicts().is_empty(), "{:?}", world.verdicts());
            let counters = world.counters(World::index(backend, v6));
            assert_eq!(counters.untracked, 3, "{counters:?}");
            // Its end needs no entry either.
            let out = world.tcp(segment(ends, RST, 8, 0));
            assert_eq!(backend_of(&out, v6), backend);
        }
    }
}

#[test]
fn p6_a_flow_without_an_entry_gets_one_as_soon_as_there_is_room() {
    for mode in [Mode::Dsr, Mode::Ipip] {
        for v6 in [false, true] {
            let mut world = World::with_tables(mode, 4, 64, 1024);
            fill(&mut world, v6, 64);
            let ends = newcomer(v6);
            let backend = backend_of(&world.tcp(segment(ends, SYN, 7, 0)), v6);
            world.tcp(segment(ends, ACK, 8, 8));
            world.forget_one_flow(v6);
            let out = world.tcp(segment(ends, ACK | PSH, 8, 8));
            assert_eq!(backend_of(&out, v6), backend);
            assert_eq!(world.established(v6), 64);
        }
    }
}

#[test]
fn p6_nat_refuses_new_flows_loudly_when_the_table_of_flows_is_full() {
    for v6 in [false, true] {
        let mut world = World::with_tables(Mode::Nat, 4, 64, 1024);
        let mut refused = 0;
        for port in 1000..1064 {
            let mut ends = client(v6);
            ends.from.set_port(port);
            let at_backend = world.tcp(segment(ends, SYN, 7, 0)).seen().ends;
            let back = turned(at_backend);
            world.tcp(segment(back, SYN | ACK, 77, 8));
            let out = world.tcp(segment(ends, ACK, 8, 78));
            assert_ne!(out.action, DROP, "{:?}", world.verdicts());
            if out.action == TX && out.segment().flags == RST {
                refused += 1;
            }
        }
        assert_eq!(refused, 32, "a flow has two entries");
        assert_eq!(world.verdicts(), [("reset_table_full", 32)].into());
    }
}

#[test]
fn p6_whoever_has_more_than_its_share_leaves_the_last_room_to_the_others() {
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        // The load balancers of the two families: here IPv6's has too much of its table,
        // and IPv4's would have too much of that one.
        for v6 in [false, true] {
            let mut world = World::with_tables(mode, 4, 64, 1024);
            world.set_over_share(v6, over_share(v6));
            world.set_over_share(!v6, over_share(v6));
            let open = |world: &mut World, v6| {
                let ends = newcomer(v6);
                let first = world.tcp(segment(ends, SYN, 7, 0));
                let there = first.seen().ends;
                world.tcp(segment(turned(there), SYN | ACK, 50, 8));
                world.tcp(segment(ends, ACK, 8, 51))
            };
            let out = open(&mut world, v6);
            assert_eq!(world.established(v6), 0, "{}", world.state());
            if mode == Mode::Nat {
                assert_eq!((out.action, out.segment().flags), (TX, RST));
                assert_eq!(world.verdicts(), [("reset_table_full", 1)].into());
            } else {
                let backend = World::index(backend_of(&out, v6), v6);
                assert_eq!(world.counters(backend).untracked, 1);
            }
            open(&mut world, !v6);
            assert_ne!(
                world.established(!v6),
                0,
                "the other table is not concerned"
            );
        }
    }
}
