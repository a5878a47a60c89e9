//! P8: what is not ours leaves the program byte for byte as it came, and what
//! is malformed is never forwarded.

use crate::{
    frame::{ACK, PSH, SYN, Segment, ends, tcp, udp},
    world::{CLIENT_MAC, DROP, Mode, OUR_MAC, PASS, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

#[track_caller]
fn untouched(world: &mut World, what: &str, frame: &[u8]) {
    let out = world.run(frame);
    assert_eq!(out.action, PASS, "{what}: {:?}", world.verdicts());
    assert!(
        out.frame == frame,
        "{what} was changed:\n{frame:02x?}\n{:02x?}",
        out.frame
    );
}

#[test]
fn p8_what_is_not_ours_passes_untouched() {
    let segment = |from: &str, to: &str| Segment {
        ends: ends(from, to),
        flags: SYN,
        seq: 1,
        ack: 0,
        payload: 0,
    };
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        let mut world = World::new(mode, 2);
        let mut arp = vec![0xFF; 6];
        arp.extend(CLIENT_MAC);
        arp.extend([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1]);
        arp.resize(60, 0);
        untouched(&mut world, "ARP", &arp);
        untouched(
            &mut world,
            "SSH to the host",
            &tcp(MACS, segment("10.0.0.9:4000", "10.0.0.1:22")),
        );
        untouched(
            &mut world,
            "SSH to the host, IPv6",
            &tcp(MACS, segment("[fd00::9]:4000", "[fd00::1]:22")),
        );
        untouched(
            &mut world,
            "an unknown port of a VIP",
            &tcp(MACS, segment("10.0.0.9:4000", "10.0.0.100:81")),
        );
        untouched(
            &mut world,
            "a connection of the host's own",
            &tcp(MACS, segment("10.0.1.1:80", "10.0.1.254:50000")),
        );
        untouched(
            &mut world,
            "DNS to the host",
            &udp(MACS, ends("10.0.0.9:4000", "10.0.0.1:53"), b"query"),
        );
        untouched(
            &mut world,
            "another EtherType",
            &[&MACS.0[..], &MACS.1, &[0x88, 0xCC, 1, 2, 3]].concat(),
        );
        assert!(world.flows4("HALF_V4").is_empty() && world.flows6("HALF_V6").is_empty());
    }
}

/// Where it cannot be seen whom the packet is to, it passes untouched; what is to a VIP and
/// ends before it should is for nobody.
fn cut(world: &mut World, what: &str, whole: &[u8]) {
    let header = if whole[12] == 0x86 { 40 } else { 20 };
    // BPF_PROG_TEST_RUN wants an Ethernet header and something behind it.
    for len in 15..whole.len() {
        if !World::takes(&whole[..len]) {
            continue;
        }
        let what = format!("{what} cut to {len} bytes");
        if len < 14 + header {
            untouched(world, &what, &whole[..len]);
        } else {
            dropped(world, &what, &whole[..len]);
        }
    }
}

#[track_caller]
fn dropped(world: &mut World, what: &str, frame: &[u8]) {
    let count = |world: &mut World| world.verdicts().get("drop_unreadable").copied();
    let before = count(world).unwrap_or_default();
    let out = world.run(frame);
    assert_eq!(out.action, DROP, "{what}: {:?}", world.verdicts());
    assert_eq!(count(world), Some(before + 1), "{what}");
}

#[test]
fn p8_no_truncation_of_a_packet_is_forwarded() {
    for mode in [Mode::Nat, Mode::Dsr, Mode::Ipip] {
        let mut world = World::new(mode, 2);
        for (from, to) in [
            ("10.0.0.9:4000", "10.0.0.100:80"),
            ("[fd00::9]:4000", "[fd00::100]:80"),
        ] {
            let whole = tcp(
                MACS,
                Segment {
                    ends: ends(from, to),
                    flags: SYN | PSH | ACK,
                    seq: 1,
                    ack: 1,
                    payload: 30,
                },
            );
            cut(&mut world, &format!("TCP {to}"), &whole);
            let whole = udp(MACS, ends(from, to), &[7; 30]);
            cut(&mut world, &format!("UDP {to}"), &whole);
        }
        assert!(
            world.flows4("HALF_V4").is_empty() && world.flows6("HALF_V6").is_empty(),
            "{}",
            world.state()
        );
    }
}

#[test]
fn p8_headers_to_a_vip_that_contradict_themselves_are_forwarded_to_nobody() {
    let mut world = World::new(Mode::Nat, 2);
    let good = tcp(
        MACS,
        Segment {
            ends: ends("10.0.0.9:4000", "10.0.0.100:80"),
            flags: SYN,
            seq: 1,
            ack: 0,
            payload: 10,
        },
    );
    let mut broken = |what: &str, at: usize, value: u8| {
        let mut frame = good.clone();
        frame[at] = value;
        dropped(&mut world, what, &frame);
    };
    broken("an IPv4 header of four words", 14, 0x44);
    broken("an IPv4 header of version 5", 14, 0x55);
    broken("options beyond the datagram", 14, 0x4F);
    broken("a datagram longer than the frame", 16, 0x7F);
    broken("a datagram shorter than its headers", 17, 30);
    broken("a TCP header of four words", 14 + 20 + 12, 0x40);
    broken("a TCP header beyond the datagram", 14 + 20 + 12, 0xF0);
}
