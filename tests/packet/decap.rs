//! The backend's end of a tunnel gives back what the client sent.

use crate::{
    frame::{SYN, Segment, tagged, tcp, udp, with_options},
    udp::client,
    world::{CLIENT_MAC, Mode, OUR_MAC, PASS, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

#[test]
fn what_the_balancer_puts_around_a_packet_the_backend_takes_off() {
    for (inner_v6, outer_v6) in [(false, false), (true, true), (false, true)] {
        let mut world = World::new(Mode::Ipip, 4);
        if outer_v6 && !inner_v6 {
            // IPv4 in IPv6: backends that have IPv6 addresses only.
            for backend in 0..4 {
                let address = World::backend_address(backend, true);
                let source = World::nat_source(true);
                world.put_backend(backend, false, |b| {
                    b.address = lb_common::abi::address::words_of(address);
                    b.source = lb_common::abi::address::words_of(source);
                    b.flags |= lb_common::abi::backend::V6;
                });
            }
        }
        let segment = Segment {
            ends: client(inner_v6),
            flags: SYN,
            seq: 5,
            ack: 0,
            payload: 0,
        };
        let sent = tcp(MACS, segment);
        let wrapped = world.run(&sent);
        let outer = if outer_v6 { 40 } else { 20 };
        assert_eq!(wrapped.frame.len(), sent.len() + outer);
        let opened = world.decap(&wrapped.frame);
        assert_eq!(opened.action, PASS);
        assert_eq!(opened.frame[..12], wrapped.frame[..12], "the MAC addresses");
        assert_eq!(opened.frame[12..], sent[12..], "the packet");

        let tag = tagged(&wrapped.frame, &[[0x81, 0, 0, 9]]);
        assert_eq!(world.decap(&tag).frame, opened.frame, "behind a tag");
    }
}

#[test]
fn what_is_not_for_a_vip_stays_closed() {
    let mut world = World::new(Mode::Ipip, 1);
    let wrapped = world.run(&udp(MACS, client(false), b"hello")).frame;
    let untouched = |world: &mut World, what: &str, frame: &[u8]| {
        let out = world.decap(frame);
        assert_eq!(out.action, PASS, "{what}");
        assert!(out.frame == frame, "{what} was changed");
    };
    let mut other = wrapped.clone();
    other[14 + 20 + 19] = 99;
    untouched(&mut world, "a tunnelled packet to another address", &other);
    untouched(
        &mut world,
        "a packet without a tunnel",
        &udp(MACS, client(false), b"x"),
    );
    let mut fragment = wrapped.clone();
    fragment[14 + 6] = 0x20;
    untouched(&mut world, "a fragment of a tunnelled packet", &fragment);
    for len in 14..14 + 20 + 20 {
        untouched(&mut world, "a truncated packet", &wrapped[..len]);
    }
    let options = with_options(&wrapped, &[1, 1, 1, 1]);
    let opened = world.decap(&options);
    assert_eq!(
        opened.frame[14..],
        wrapped[34..],
        "options of the outer header go too"
    );
}
