//! The clients' router: answers go where it is now, not where a packet once came from.

use std::net::IpAddr;

use lb_common::abi::{config::MAX_INTERFACES, flow::NAT};

use crate::{
    frame::{self, ACK, Mac, SYN},
    hostile::{BACKEND, CLIENT, STRANGERS_MAC, Victim, client, segment, turned},
    world::{CLIENT_MAC, Mode, OTHER_IFINDEX, OUR_MAC, World},
};

/// The way out by the first router, and by a second one.
const FIRST: u32 = MAX_INTERFACES;
const SECOND: u32 = MAX_INTERFACES + 1;
/// The way out by the packets' interface itself.
const ON_LINK: u32 = 0;

const NEW_MAC: Mac = [2, 0, 0, 0, 0, 0xAB];
const NO_MAC: Mac = [0; 6];

fn any(v6: bool) -> IpAddr {
    if v6 { "::" } else { "0.0.0.0" }.parse().unwrap()
}

/// A world with routers at these MAC addresses, the first of which has the default route.
/// Packets come from `CLIENT_MAC`.
fn world(v6: bool, macs: &[Mac]) -> World {
    let mut world = World::new(Mode::Nat, 4);
    for (number, mac) in (FIRST..).zip(macs) {
        put(&mut world, number, *mac);
        if *mac != NO_MAC {
            world.put_router(*mac, v6, number);
        }
    }
    world.put_route(any(v6), 0, FIRST);
    world
}

fn put(world: &mut World, number: u32, mac: Mac) {
    let mut interface = None;
    world.set_exit(ON_LINK, |exit| interface = Some(*exit));
    world.set_exit(number, |exit| {
        *exit = interface.unwrap();
        exit.to = bytemuck::cast(mac);
    });
}

/// Where the backend's next packet of the flow goes.
fn answered(victim: &mut Victim) -> Mac {
    let back = turned(victim.at_backend);
    let out = victim.world.tcp(segment(back, ACK, BACKEND, CLIENT));
    let seen = out.seen();
    assert_eq!(seen.macs.1, OUR_MAC);
    assert_eq!(seen.ends, turned(victim.client), "translated");
    seen.macs.0
}

#[test]
fn p2_answers_find_a_router_that_has_moved_although_the_client_is_silent() {
    for v6 in [false, true] {
        let mut victim = Victim::open_in(world(v6, &[CLIENT_MAC]), v6);
        assert_eq!(answered(&mut victim), CLIENT_MAC);
        put(&mut victim.world, FIRST, NEW_MAC);
        assert_eq!(answered(&mut victim), NEW_MAC);
    }
}

#[test]
fn p2_the_answer_to_a_syn_finds_a_router_that_has_just_moved() {
    for v6 in [false, true] {
        let mut world = world(v6, &[CLIENT_MAC]);
        let syn = world.tcp(segment(client(v6), SYN, CLIENT - 1, 0));
        put(&mut world, FIRST, NEW_MAC);
        let back = turned(syn.seen().ends);
        let answer = world.tcp(segment(back, SYN | ACK, BACKEND - 1, CLIENT));
        assert_eq!(answer.seen().macs.0, NEW_MAC, "{}", world.state());
    }
}

#[test]
fn p2_answers_leave_by_another_interface_when_the_router_is_there() {
    for v6 in [false, true] {
        let mut victim = Victim::open_in(world(v6, &[CLIENT_MAC]), v6);
        victim.world.set_exit(FIRST, |exit| {
            exit.ifindex = OTHER_IFINDEX;
            exit.to = bytemuck::cast(NEW_MAC);
        });
        assert_eq!(answered(&mut victim), NEW_MAC);
    }
}

#[test]
fn a_router_that_sends_from_another_address_than_it_answers_by_is_known_by_the_route() {
    // As those do that share a virtual MAC address.
    for v6 in [false, true] {
        let mut victim = Victim::open_in(world(v6, &[NEW_MAC]), v6);
        assert_eq!(answered(&mut victim), NEW_MAC);
    }
}

#[test]
fn a_host_on_the_link_is_answered_at_its_own_mac_address() {
    for v6 in [false, true] {
        let mut world = world(v6, &[NEW_MAC]);
        world.put_route(client(v6).from.ip(), 24, ON_LINK);
        let mut victim = Victim::open_in(world, v6);
        assert_eq!(answered(&mut victim), CLIENT_MAC);
    }
}

#[test]
fn a_client_that_comes_by_another_router_than_the_routes_name_is_answered_by_that_one() {
    for v6 in [false, true] {
        let mut victim = Victim::open_in(world(v6, &[NEW_MAC, CLIENT_MAC]), v6);
        assert_eq!(answered(&mut victim), CLIENT_MAC);
        // And finds it where it has moved to.
        put(&mut victim.world, SECOND, STRANGERS_MAC);
        assert_eq!(answered(&mut victim), STRANGERS_MAC);
        // It comes by the other one from now on.
        let packet = segment(victim.client, ACK, CLIENT, BACKEND);
        victim.world.run(&frame::tcp((NEW_MAC, OUR_MAC), packet));
        assert_eq!(answered(&mut victim), NEW_MAC);
        put(&mut victim.world, FIRST, CLIENT_MAC);
        assert_eq!(answered(&mut victim), CLIENT_MAC);
    }
}

#[test]
fn while_a_routers_mac_address_is_not_known_answers_go_where_packets_come_from() {
    for v6 in [false, true] {
        let mut victim = Victim::open_in(world(v6, &[NO_MAC]), v6);
        assert_eq!(answered(&mut victim), CLIENT_MAC);
        put(&mut victim.world, FIRST, NEW_MAC);
        assert_eq!(answered(&mut victim), NEW_MAC);
    }
}

#[test]
fn flows_of_every_mode_know_their_router() {
    // Where answers do not come by here, the agent's last word does.
    for mode in crate::hostile::MODES {
        let mut world = World::new(mode, 4);
        put(&mut world, SECOND, CLIENT_MAC);
        // Numbers are given from the first on.
        put(&mut world, FIRST, NEW_MAC);
        world.put_route(any(false), 0, SECOND);
        let mut victim = Victim::open_in(world, false);
        for (_, flow) in victim.world.flows4("FLOWS_V4") {
            assert_eq!(u32::from(flow.exit), SECOND, "{flow:?}");
            assert_eq!(flow.state & NAT != 0, victim.is_nat());
        }
    }
}
