//! Packets of unusual shape: VLAN tags, IPv4 options, IPv6 extension headers.

use crate::{
    frame::{ACK, PSH, SYN, Segment, tagged, tcp, udp, with_extension, with_options},
    udp::client,
    world::{CLIENT_MAC, DROP, Mode, OUR_MAC, PASS, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

fn segment(v6: bool, flags: u8, payload: usize) -> Segment {
    Segment {
        ends: client(v6),
        flags,
        seq: 1,
        ack: 1,
        payload,
    }
}

#[test]
fn one_or_two_vlan_tags_are_kept() {
    let tags = [
        &[[0x81, 0, 0, 10]][..],
        &[[0x88, 0xA8, 0, 10], [0x81, 0, 0, 20]],
    ];
    for v6 in [false, true] {
        for tags in tags {
            let mut world = World::new(Mode::Dsr, 4);
            let mut to = None;
            for (flags, payload) in [(SYN, 0), (ACK, 0), (ACK | PSH, 100)] {
                let frame = tagged(&tcp(MACS, segment(v6, flags, payload)), tags);
                let out = world.run(&frame);
                assert_ne!(out.action, PASS, "{:?}", world.verdicts());
                assert_eq!(out.frame[12..], frame[12..]);
                assert_eq!(*to.get_or_insert(out.frame[..6].to_vec()), out.frame[..6]);
            }
            assert_eq!(world.established(v6), 1);
        }
    }
}

#[test]
fn a_tagged_refusal_goes_back_with_its_tag() {
    let mut world = World::new(Mode::Nat, 0);
    let tag = [0x81, 0, 0, 10];
    let out = world.run(&tagged(&tcp(MACS, segment(false, SYN, 0)), &[tag]));
    assert_eq!(out.frame[12..16], tag);
    let untagged = [&out.frame[..12], &out.frame[16..]].concat();
    let seen = crate::frame::read(&untagged);
    assert_eq!(seen.tcp.expect("a RST").ends.to, client(false).from);
    let datagram = tagged(&udp(MACS, client(false), b"x"), &[tag]);
    if !World::takes(&datagram) {
        return;
    }
    let out = world.run(&datagram);
    assert_eq!(out.frame[12..16], tag);
    let untagged = [&out.frame[..12], &out.frame[16..]].concat();
    assert_eq!(
        crate::frame::read(&untagged).icmp.expect("an error").code,
        3
    );
}

#[test]
fn ipv4_options_are_carried_along() {
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        let mut world = World::new(mode, 4);
        // Router alert, and padding to the most there can be.
        for options in [&[0x94, 4, 0, 0][..], &[1; 40]] {
            let frame = with_options(&udp(MACS, client(false), b"hello"), options);
            let out = world.run(&frame);
            assert_ne!(out.action, PASS, "{:?}", world.verdicts());
            if mode != Mode::Ipip {
                assert_eq!(out.seen().udp.as_deref(), Some(&b"hello"[..]));
                assert_eq!(out.frame[34..34 + options.len()], *options);
            }
        }
        assert!(world.verdicts().is_empty());
    }
}

#[test]
fn ipv6_extension_headers_are_carried_along() {
    for kind in [0, 60, 43] {
        let mut world = World::new(Mode::Nat, 4);
        let frame = with_extension(&udp(MACS, client(true), b"hello"), kind);
        let out = world.run(&frame);
        assert_ne!(out.action, PASS, "{kind}: {:?}", world.verdicts());
        assert_eq!(out.seen().udp.as_deref(), Some(&b"hello"[..]));
    }
}

#[test]
fn more_extension_headers_than_are_read_are_dropped() {
    let mut world = World::new(Mode::Nat, 4);
    let mut frame = udp(MACS, client(true), b"hello");
    for _ in 0..6 {
        frame = with_extension(&frame, 60);
    }
    assert_eq!(world.run(&frame).action, DROP);
    assert_eq!(world.verdicts(), [("drop_unreadable", 1)].into());
}
