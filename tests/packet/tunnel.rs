//! Tunnels (ipip): what the outer header says of the packet inside, and what becomes of
//! what is said about the outer one.

use lb_common::wire::ECN;

use crate::{
    frame::{ACK, PSH, SYN, Segment, read, tcp, udp, with_class, with_hops},
    udp::client,
    world::{CLIENT_MAC, OUR_MAC, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

/// What is inside and what outside: IPv6, or not.
const FAMILIES: [(bool, bool); 4] = [(false, false), (true, true), (false, true), (true, false)];

fn segment(v6: bool, flags: u8, payload: usize) -> Segment {
    let (seq, ack) = if flags == SYN {
        (1000, 0)
    } else {
        (1001, 5001)
    };
    Segment {
        ends: client(v6),
        flags,
        seq,
        ack,
        payload,
    }
}

fn frame(v6: bool, flags: u8, payload: usize) -> Vec<u8> {
    tcp(MACS, segment(v6, flags, payload))
}

/// The traffic class of a frame's IP header.
fn class(frame: &[u8]) -> u8 {
    if frame[12..14] == [0x86, 0xDD] {
        frame[14] << 4 | frame[15] >> 4
    } else {
        frame[15]
    }
}

#[test]
fn the_outer_header_has_the_class_of_the_packet_inside() {
    for (inner_v6, outer_v6) in FAMILIES {
        let mut world = World::tunnels(inner_v6, outer_v6, 1);
        let mut sent = 0;
        for told in [0, 1, 2, 3, 0xB8, 0xBA, 0x2B, 0xFF] {
            // On the slow path, on the hit path, and a datagram.
            for whole in [
                frame(inner_v6, SYN, 0),
                frame(inner_v6, ACK, 0),
                frame(inner_v6, ACK | PSH, 9),
                udp(MACS, client(inner_v6), b"hello"),
            ] {
                let whole = with_class(&whole, told);
                let out = world.run(&whole);
                let outer = if outer_v6 { 40 } else { 20 };
                // Checksums, too.
                let _ = read(&out.frame);
                assert_eq!(class(&out.frame), told, "{inner_v6} in {outer_v6}");
                assert_eq!(out.frame[14 + outer..], with_hops(&whole, 63)[14..]);
                sent += 1;
            }
        }
        let index = World::index(0, inner_v6);
        assert_eq!(world.counters(index).packets_in, sent);
    }
}

#[test]
fn a_dscp_that_is_set_takes_the_place_of_the_inner_one_and_congestion_is_copied_all_the_same() {
    for (inner_v6, outer_v6) in FAMILIES {
        let mut world = World::tunnels(inner_v6, outer_v6, 1);
        world.change_tunnel(inner_v6, outer_v6, |backend| {
            (backend.class_kept, backend.class_added) = (ECN, 10 << 2);
        });
        for told in [0, 1, 2, 3, 0xB8, 0xBB] {
            let out = world.run(&with_class(&frame(inner_v6, SYN, 0), told));
            let _ = read(&out.frame);
            assert_eq!(class(&out.frame), 10 << 2 | told & ECN);
        }
    }
}
