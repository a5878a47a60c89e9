//! Tunnels (ipip): what the outer header says of the packet inside, and what becomes of
//! what is said about the outer one.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use lb_common::wire::ECN;
use rustix::thread::{CpuSet, sched_setaffinity};
use tests::hook::Hook;

use crate::{
    frame::{
        ACK, Icmp, PSH, SYN, Segment, fragments, icmp, read, tagged, tcp, that_may_be_fragmented,
        udp, with_class, with_hops,
    },
    udp::client,
    world::{CLIENT_MAC, DROP, Mode, OUR_MAC, PASS, REDIRECT, TX, World, backend_mac},
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

/// The MAC address of a router between the balancer and its backends.
const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
/// What the link behind it takes.
const NARROW: u16 = 1400;

fn open(world: &mut World, v6: bool) {
    for flags in [SYN, ACK] {
        world.run(&frame(v6, flags, 0));
    }
    assert_eq!(world.established(v6), 1, "{}", world.state());
}

/// What a router says about a frame that it got from the balancer, of which it gives
/// `given` bytes back.
struct Router {
    outer_v6: bool,
    message: (u8, u8),
    mtu: u16,
    given: usize,
}

impl Router {
    /// It has a narrow link.
    fn narrow(outer_v6: bool) -> Self {
        Self {
            outer_v6,
            message: if outer_v6 { (2, 0) } else { (3, 4) },
            mtu: NARROW,
            given: 128,
        }
    }

    fn says(&self, about: &[u8]) -> Vec<u8> {
        let ip = &about[14..];
        let (source, router): (IpAddr, IpAddr) = if self.outer_v6 {
            let source: [u8; 16] = ip[8..24].try_into().unwrap();
            (source.into(), "fd00:1::f".parse().unwrap())
        } else {
            let source: [u8; 4] = ip[12..16].try_into().unwrap();
            (source.into(), "10.0.1.15".parse().unwrap())
        };
        let [a, b] = self.mtu.to_be_bytes();
        let error = Icmp {
            kind: self.message.0,
            code: self.message.1,
            rest: [0, 0, a, b],
            payload: ip[..self.given].to_vec(),
        };
        icmp((ROUTER_MAC, OUR_MAC), router, source, &error)
    }
}

fn headers(v6: bool) -> usize {
    if v6 { 40 } else { 20 }
}

#[test]
fn a_client_is_told_of_a_link_that_is_too_narrow_for_its_packets_in_the_tunnel() {
    for (inner_v6, outer_v6) in FAMILIES {
        let mut world = World::tunnels(inner_v6, outer_v6, 1);
        open(&mut world, inner_v6);
        for sent in [
            frame(inner_v6, ACK | PSH, 1380),
            udp(MACS, client(inner_v6), &[7; 1400]),
        ] {
            let wrapped = world.run(&sent).frame;
            let mut router = Router::narrow(outer_v6);
            // As much as there may be, and the least that says which flow it is.
            for given in [500, headers(outer_v6) + headers(inner_v6) + 8] {
                router.given = given;
                let out = world.run(&router.says(&wrapped));
                assert_eq!(out.action, TX, "{}", world.state());
                let seen = read(&out.frame);
                let ends = client(inner_v6);
                assert_eq!(seen.macs, MACS);
                assert_eq!(
                    (seen.ends.from.ip(), seen.ends.to.ip(), seen.hops),
                    (ends.to.ip(), ends.from.ip(), 64)
                );
                let message = seen.icmp.expect("an ICMP message");
                assert_eq!(
                    (message.kind, message.code),
                    if inner_v6 { (2, 0) } else { (3, 4) }
                );
                let [_, _, a, b] = message.rest;
                assert_eq!(
                    usize::from(u16::from_be_bytes([a, b])),
                    usize::from(NARROW) - headers(outer_v6)
                );
                let begins = &with_hops(&sent, 63)[14..14 + headers(inner_v6) + 8];
                assert_eq!(message.payload, begins);
            }
        }
        assert_eq!(world.verdicts(), [("icmp_tunnel_too_big", 4)].into());
        assert_eq!(world.established(inner_v6), 1);
    }
}

#[test]
fn an_ipv6_client_is_told_of_no_length_that_it_cannot_have() {
    for outer_v6 in [false, true] {
        let mut world = World::tunnels(true, outer_v6, 1);
        open(&mut world, true);
        let wrapped = world.run(&frame(true, ACK | PSH, 1300)).frame;
        let mut router = Router::narrow(outer_v6);
        router.mtu = 1290;
        let message = read(&world.run(&router.says(&wrapped)).frame).icmp;
        assert_eq!(message.expect("an error").rest, 1280_u32.to_be_bytes());
        // It does so already.
        let wrapped = world.run(&frame(true, ACK | PSH, 1220)).frame;
        assert_eq!(world.run(&router.says(&wrapped)).action, DROP);
    }
}

#[test]
fn what_else_is_said_about_a_tunnel_is_counted_and_ends_no_flow() {
    for (inner_v6, outer_v6) in FAMILIES {
        let mut world = World::tunnels(inner_v6, outer_v6, 1);
        open(&mut world, inner_v6);
        let wrapped = world.run(&frame(inner_v6, ACK | PSH, 1200)).frame;
        let unreachable_and_expired = if outer_v6 {
            [(1, 0), (1, 4), (3, 0), (4, 1)]
        } else {
            [(3, 0), (3, 3), (11, 0), (12, 0)]
        };
        for message in unreachable_and_expired {
            let router = Router {
                message,
                ..Router::narrow(outer_v6)
            };
            assert_eq!(world.run(&router.says(&wrapped)).action, DROP);
        }
        assert_eq!(world.verdicts(), [("drop_icmp_about_tunnel", 4)].into());
        let out = world.run(&frame(inner_v6, ACK | PSH, 5));
        assert_eq!(out.frame[..6], backend_mac(World::index(0, inner_v6)));
        assert_eq!(world.counters(World::index(0, inner_v6)).closed, 0);
    }
}

#[test]
fn an_error_about_a_tunnel_is_believed_only_about_what_a_client_has_sent() {
    for (inner_v6, outer_v6) in FAMILIES {
        let mut world = World::tunnels(inner_v6, outer_v6, 1);
        open(&mut world, inner_v6);
        let sent = |seq| {
            let segment = segment(inner_v6, ACK | PSH, 1380);
            tcp(MACS, Segment { seq, ..segment })
        };
        let wrapped = world.run(&sent(1001)).frame;
        let router = Router::narrow(outer_v6);
        // About a number that was never sent, or an MTU that is below all reason, or one
        // that takes the packet.
        let at = 14 + headers(outer_v6) + headers(inner_v6) + 4;
        let mut never = wrapped.clone();
        never[at..at + 4].copy_from_slice(&(1001_u32 + 5000).to_be_bytes());
        let mut long_ago = wrapped.clone();
        long_ago[at..at + 4].copy_from_slice(&(1001_u32.wrapping_sub(5000)).to_be_bytes());
        let tiny = Router {
            mtu: 1279,
            ..Router::narrow(outer_v6)
        };
        let wide = Router {
            mtu: 1480,
            ..Router::narrow(outer_v6)
        };
        for error in [
            router.says(&never),
            router.says(&long_ago),
            tiny.says(&wrapped),
            wide.says(&wrapped),
        ] {
            assert_eq!(world.run(&error).action, DROP);
        }
        assert_eq!(world.verdicts(), [("drop_icmp_not_believed", 4)].into());
        // A tag that came by the backend's side has no meaning on the client's.
        if World::takes(&tagged(&router.says(&wrapped), &[[0x81, 0, 0, 9]])) {
            world.run(&tagged(&router.says(&wrapped), &[[0x81, 0, 0, 9]]));
            assert_eq!(world.verdicts()["drop_vlan_tag"], 1);
        }
        assert_eq!(world.run(&router.says(&wrapped)).action, TX);
    }
}

#[test]
fn an_error_about_a_tunnel_that_is_not_ours_passes_untouched() {
    for (inner_v6, outer_v6) in FAMILIES {
        let mut world = World::tunnels(inner_v6, outer_v6, 1);
        open(&mut world, inner_v6);
        let wrapped = world.run(&frame(inner_v6, ACK | PSH, 1380)).frame;
        let router = Router::narrow(outer_v6);
        let inside = 14 + headers(outer_v6);
        // To another backend; from another source than this flow's; of another client; of
        // something that has no ports; not even a whole header of what is inside.
        let changed = |at: usize| {
            let mut frame = wrapped.clone();
            frame[at] ^= 1;
            router.says(&frame)
        };
        let to = inside - 1;
        let from = if outer_v6 { 14 + 23 } else { 14 + 15 };
        let client = inside + if inner_v6 { 23 } else { 15 };
        let protocol = inside + if inner_v6 { 6 } else { 9 };
        let mut short = Router::narrow(outer_v6);
        short.given = headers(outer_v6) + headers(inner_v6) + 7;
        for frame in [
            changed(to),
            changed(from),
            changed(client),
            changed(protocol),
            short.says(&wrapped),
        ] {
            let out = world.run(&frame);
            assert_eq!((out.action, &out.frame), (PASS, &frame));
        }
        // And a flow whose backend has lost it.
        world.change_tunnel(inner_v6, outer_v6, |backend| backend.epoch += 1);
        let frame = router.says(&wrapped);
        let out = world.run(&frame);
        assert_eq!((out.action, &out.frame), (PASS, &frame));
    }
    // Nor is there a tunnel in the other modes.
    for mode in [Mode::Nat, Mode::Dsr] {
        let wrapped = {
            let mut world = World::new(Mode::Ipip, 1);
            open(&mut world, false);
            world.run(&frame(false, ACK | PSH, 1380)).frame
        };
        let mut world = World::new(mode, 1);
        world.run(&frame(false, SYN, 0));
        let frame = Router::narrow(false).says(&wrapped);
        let out = world.run(&frame);
        assert_eq!((out.action, &out.frame), (PASS, &frame));
    }
}

#[test]
fn clients_are_told_of_tunnels_a_thousand_times_a_second_at_most() {
    // The limit is each CPU's own.
    let mut cpu = CpuSet::new();
    cpu.set(0);
    sched_setaffinity(None, &cpu).expect("to run on the first CPU");
    let mut world = World::new(Mode::Ipip, 1);
    open(&mut world, false);
    let wrapped = world.run(&frame(false, ACK | PSH, 1380)).frame;
    let error = Router::narrow(false).says(&wrapped);
    let began = Instant::now();
    for _ in 0..2500 {
        world.run(&error);
    }
    let took = began.elapsed();
    let verdicts = world.verdicts();
    let count = |verdict| verdicts.get(verdict).copied().unwrap_or_default();
    let (told, dropped) = (count("icmp_tunnel_too_big"), count("drop_too_big"));
    assert_eq!(told + dropped, 2500);
    // Two thousand at most, where one second follows another; an emulated CPU may not
    // get there.
    let fast = took < Duration::from_secs(1);
    assert!(dropped > 0 || !fast, "no limit: {verdicts:?} in {took:?}");
}

#[test]
fn a_datagram_that_may_be_fragmented_goes_in_two_where_the_hook_can_send_more_than_came() {
    for outer_v6 in [false, true] {
        let outer = headers(outer_v6);
        let room = 1500 - outer;
        let first = (room - 20) / 8 * 8;
        let mut world = World::tunnels(false, outer_v6, 1);
        let large = udp(MACS, client(false), &[7; 4000]);
        let pieces = fragments(&large, 1480);
        let whole = that_may_be_fragmented(&udp(MACS, client(false), &[9; 1472]));
        for (sent, place) in [
            (&whole, 0),
            (&pieces[0], 0x2000),
            (&pieces[1], 185 | 0x2000),
        ] {
            let out = world.run(sent);
            if Hook::of_run() == Hook::Xdp {
                assert!(!world.verdicts().is_empty());
                continue;
            }
            assert!([TX, REDIRECT].contains(&out.action), "{}", world.state());
            // The second of them; the network tests see both.
            let _ = read(&out.frame);
            let inner = &out.frame[14 + outer..];
            let (header, rest) = etherparse::Ipv4Header::from_slice(inner).expect("IPv4");
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let found = u16::from(header.more_fragments) << 13 | header.fragment_offset.value();
            assert_eq!(found, place + (first / 8) as u16);
            assert_eq!(usize::from(header.total_len), inner.len());
            assert_eq!((header.identification, header.time_to_live), (0x1234, 63));
            assert_eq!(rest, &sent[34 + first..]);
        }
        if Hook::of_run() == Hook::Tc {
            assert!(world.verdicts().is_empty());
            assert_eq!(world.counters(0).packets_in, 3);
        }
        // What says "don't fragment" is answered wherever it is.
        let out = world.run(&udp(MACS, client(false), &[9; 1472]));
        assert_eq!(out.seen().icmp.map(|message| message.code), Some(4));
    }
}
