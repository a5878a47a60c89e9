//! What another balancer gets wrong, packet by packet: each is a way in which a
//! flow moves, is forgotten, or reaches a server that is not its own. What is
//! not here: ICMP errors with eight bytes of TCP and echo to others in `icmp`,
//! fragments and options of others in `fragments` and `hands_off`.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{
    frame::{ACK, PSH, RST, SYN, Segment, ends},
    world::{ABORTED, Mode, TX, VIP4, VIP6, World, backend_mac},
};

fn segment(v6: bool, port: u16, flags: u8) -> Segment {
    let (seq, ack) = if flags == SYN {
        (1000, 0)
    } else {
        (1001, 5001)
    };
    Segment {
        ends: if v6 {
            ends(&format!("[fd00::9]:{port}"), &format!("[{VIP6}]:80"))
        } else {
            ends(&format!("10.0.0.9:{port}"), &format!("{VIP4}:80"))
        },
        flags,
        seq,
        ack,
        payload: 0,
    }
}

/// Opens a flow from this port and returns the number of its backend.
fn open(world: &mut World, v6: bool, port: u16) -> u16 {
    world.tcp(segment(v6, port, SYN));
    owner(world, v6, port)
}

/// Where a packet of the flow goes.
fn owner(world: &mut World, v6: bool, port: u16) -> u16 {
    let to = world.tcp(segment(v6, port, ACK)).seen().macs.0;
    (0..4)
        .find(|backend| backend_mac(World::index(*backend, v6)) == to)
        .expect("one of ours")
}

#[test]
fn a_duplicate_syn_of_an_established_flow_does_not_move_it() {
    for mode in [Mode::Dsr, Mode::Ipip] {
        for v6 in [false, true] {
            let mut world = World::new(mode, 4);
            let first = open(&mut world, v6, 40_000);
            world.swap_tables(|backend| backend % 4 != first);
            let syn = world.tcp(segment(v6, 40_000, SYN));
            assert_eq!(syn.seen().macs.0, backend_mac(World::index(first, v6)));
            assert_eq!(owner(&mut world, v6, 40_000), first);
        }
    }
}

#[test]
fn a_flow_that_arrives_on_another_cpu_stays_with_its_backend() {
    let usable = sched_getaffinity(None).expect("this thread's CPUs");
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|n| usable.is_set(*n)).collect();
    let run_on = |n: usize| {
        let mut one = CpuSet::new();
        one.set(n);
        sched_setaffinity(None, &one).expect("to run on this CPU");
    };
    let mut world = World::new(Mode::Dsr, 4);
    run_on(cpus[0]);
    let first = open(&mut world, false, 40_000);
    // Nothing but the flow's entry leads there now.
    world.swap_tables(|backend| backend != first);
    for cpu in cpus {
        run_on(cpu);
        assert_eq!(owner(&mut world, false, 40_000), first, "on CPU {cpu}");
    }
}

#[test]
fn the_last_backend_to_leave_gets_nothing_new() {
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        for v6 in [false, true] {
            let mut world = World::new(mode, 1);
            // The table still names it: the flag alone decides.
            world.put_backend(0, v6, |b| b.flags &= !lb_common::abi::backend::TAKES_NEW);
            let out = world.tcp(segment(v6, 40_000, SYN));
            assert_eq!((out.action, out.segment().flags), (TX, RST | ACK));
            // And so it is when the table is empty.
            world.swap_tables(|_| false);
            let out = world.tcp(segment(v6, 40_001, SYN));
            assert_eq!((out.action, out.segment().flags), (TX, RST | ACK));
        }
    }
}

#[test]
fn a_number_that_is_used_again_gets_no_flow_of_its_earlier_backend() {
    for mode in [Mode::Dsr, Mode::Ipip] {
        for v6 in [false, true] {
            let mut world = World::new(mode, 4);
            let first = open(&mut world, v6, 40_000);
            let new = backend_mac(999);
            world.put_backend(first, v6, |b| {
                b.epoch += 1;
                b.macs = lb_common::abi::backend::macs(new, crate::world::OUR_MAC);
            });
            let out = world.tcp(segment(v6, 40_000, ACK | PSH));
            assert_eq!((out.action, out.segment().flags), (TX, RST));
            assert_ne!(out.seen().macs.0, new);
        }
    }
}

#[test]
fn no_rate_of_new_flows_is_too_high_to_remember_them() {
    const FLOWS: u16 = 20_000;
    let mut world = World::with_tables(Mode::Dsr, 4, 1 << 16, 1 << 16);
    // As fast as packets come: hundreds of thousands a second.
    let owners: Vec<u16> = (0..FLOWS)
        .map(|n| open(&mut world, false, 10_000 + n))
        .collect();
    assert_eq!(world.established(false), usize::from(FLOWS));
    world.swap_tables(|_| false);
    for (port, first) in (10_000..).zip(owners) {
        assert_eq!(owner(&mut world, false, port), first);
    }
    let lost = world.verdicts().values().sum::<u64>();
    assert_eq!(lost, 0, "{:?}", world.verdicts());
}

#[test]
fn a_mode_that_is_none_forwards_nothing() {
    for v6 in [false, true] {
        for byte in [0, 4, u8::MAX] {
            // Of a new flow, of one in its handshake, and of one on the fast way.
            let mut world = World::new(Mode::Dsr, 1);
            world.put_backend(0, v6, |b| b.mode = byte);
            for flags in [SYN, ACK] {
                assert_eq!(world.tcp(segment(v6, 40_000, flags)).action, ABORTED);
            }
            world.put_backend(0, v6, |_| {});
            open(&mut world, v6, 40_001);
            assert_eq!(world.established(v6), 1);
            world.put_backend(0, v6, |b| b.mode = byte);
            assert_eq!(world.tcp(segment(v6, 40_001, ACK)).action, ABORTED);
            assert_eq!(world.verdicts()["drop_internal_error"], 3, "mode {byte}");
        }
    }
}
