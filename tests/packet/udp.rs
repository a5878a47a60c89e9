//! UDP: conversations, from the first datagram to the answer.

use crate::{
    frame::{Ends, ends, read, udp},
    world::{CLIENT_MAC, Mode, OUR_MAC, TX, VIP4, VIP6, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

/// A client's tuple in either family.
pub(crate) fn client(v6: bool) -> Ends {
    if v6 {
        ends("[fd00::9]:5000", &format!("[{VIP6}]:80"))
    } else {
        ends("10.0.0.9:5000", &format!("{VIP4}:80"))
    }
}

#[test]
fn a_nat_conversation_is_established_by_its_answer() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 4);
        let client = client(v6);
        let first = world.run(&udp(MACS, client, b"question")).seen();
        assert_eq!(first.udp.as_deref(), Some(&b"question"[..]));
        assert_eq!(world.established(v6), 0, "nobody has answered");
        let again = world.run(&udp(MACS, client, b"question?")).seen();
        assert_eq!(again.ends, first.ends, "the conversation moved");

        let back = Ends {
            from: first.ends.to,
            to: first.ends.from,
        };
        let answer = world.run(&udp(MACS, back, b"answer")).seen();
        assert_eq!(
            answer.ends,
            Ends {
                from: client.to,
                to: client.from
            }
        );
        assert_eq!(world.established(v6), 2, "{}", world.state());
        assert_eq!(
            world.run(&udp(MACS, client, b"thanks")).seen().ends,
            first.ends
        );
        assert!(world.verdicts().is_empty());
    }
}

#[test]
fn a_datagram_without_a_checksum_stays_without() {
    let mut world = World::new(Mode::Nat, 4);
    let mut frame = udp(MACS, client(false), b"unchecked");
    frame[40..42].fill(0);
    let out = world.run(&frame);
    assert_eq!(out.frame[40..42], [0, 0]);
    assert_eq!(read(&out.frame).udp.as_deref(), Some(&b"unchecked"[..]));
}

#[test]
fn a_disowned_conversation_is_forgotten_and_begins_anew() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 4);
        let client = client(v6);
        let first = world.run(&udp(MACS, client, b"1")).seen();
        let back = Ends {
            from: first.ends.to,
            to: first.ends.from,
        };
        world.run(&udp(MACS, back, b"2"));
        let old = (0..4)
            .find(|b| World::backend_address(*b, v6) == first.ends.to.ip())
            .unwrap();
        world.put_backend(old, v6, |b| {
            b.epoch += 1;
            b.flags &= !lb_common::abi::backend::TAKES_NEW;
        });
        let next = world.run(&udp(MACS, client, b"3")).seen();
        assert_ne!(next.ends.to.ip(), World::backend_address(old, v6));
        let counters = world.counters(World::index(old, v6));
        assert_eq!((counters.opened, counters.closed), (1, 1));
        assert!(world.verdicts().is_empty(), "{}", world.state());
    }
}

#[test]
fn with_no_backend_in_service_the_client_is_told_the_port_is_unreachable() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 1);
        world.put_backend(0, v6, |b| b.flags &= !lb_common::abi::backend::TAKES_NEW);
        let client = client(v6);
        let frame = udp(MACS, client, &[9; 100]);
        let out = world.run(&frame);
        let seen = out.seen();
        assert_eq!(out.action, TX);
        assert_eq!(seen.macs, (CLIENT_MAC, OUR_MAC));
        assert_eq!(
            (seen.ends.from.ip(), seen.ends.to.ip()),
            (client.to.ip(), client.from.ip())
        );
        let icmp = seen.icmp.expect("an ICMP message");
        assert_eq!((icmp.kind, icmp.code), if v6 { (1, 4) } else { (3, 3) });
        let header = if v6 { 40 } else { 20 };
        assert_eq!(icmp.payload, frame[14..14 + header + 8]);
        assert_eq!(world.verdicts(), [("unreachable_no_backend", 1)].into());
    }
}
