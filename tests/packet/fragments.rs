//! Fragments follow their first one.

use crate::{
    frame::{Ends, fragments, udp},
    udp::client,
    world::{CLIENT_MAC, DROP, Mode, OUR_MAC, PASS, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

#[test]
fn all_fragments_of_a_datagram_go_the_same_way() {
    for v6 in [false, true] {
        for mode in [Mode::Nat, Mode::Dsr] {
            let mut world = World::new(mode, 4);
            let pieces = fragments(&udp(MACS, client(v6), &[5; 3000]), 1400);
            assert_eq!(pieces.len(), 3);
            let out: Vec<_> = pieces.iter().map(|p| world.run(p)).collect();
            let header = if v6 { 48 } else { 20 };
            let macs = &out[0].frame[..6];
            for (piece, out) in pieces.iter().zip(&out) {
                assert_ne!(out.action, PASS, "{:?}", world.verdicts());
                assert_eq!(&out.frame[..6], macs);
                let addresses = if v6 {
                    14 + 8..14 + 40
                } else {
                    14 + 12..14 + 20
                };
                assert_eq!(
                    out.frame[addresses.clone()] == piece[addresses],
                    mode == Mode::Dsr
                );
                if piece != &pieces[0] {
                    assert_eq!(out.frame[14 + header..], piece[14 + header..]);
                }
            }
            if mode == Mode::Nat {
                // Put together again, the datagram's checksum is right.
                let whole = [
                    &out[0].frame[14 + header..],
                    &out[1].frame[14 + header..],
                    &out[2].frame[14 + header..],
                ]
                .concat();
                let (udp, payload) = etherparse::UdpHeader::from_slice(&whole).unwrap();
                let (from, to) = if v6 {
                    (out[0].frame[22..38].to_vec(), out[0].frame[38..54].to_vec())
                } else {
                    (out[0].frame[26..30].to_vec(), out[0].frame[30..34].to_vec())
                };
                let right = if v6 {
                    udp.calc_checksum_ipv6_raw(
                        from.try_into().unwrap(),
                        to.try_into().unwrap(),
                        payload,
                    )
                } else {
                    udp.calc_checksum_ipv4_raw(
                        from.try_into().unwrap(),
                        to.try_into().unwrap(),
                        payload,
                    )
                };
                assert_eq!(right, Ok(udp.checksum));
            }
            assert!(world.verdicts().is_empty(), "{:?}", world.verdicts());
        }
    }
}

#[test]
fn a_fragment_whose_first_is_unknown_is_dropped_for_a_vip_and_passed_for_others() {
    for v6 in [false, true] {
        let mut world = World::new(Mode::Nat, 4);
        let pieces = fragments(&udp(MACS, client(v6), &[5; 3000]), 1400);
        assert_eq!(world.run(&pieces[1]).action, DROP);
        assert_eq!(world.verdicts(), [("drop_unknown_fragment", 1)].into());

        let host = if v6 { "[fd00::1]:53" } else { "10.0.0.1:53" };
        let ends = Ends {
            to: host.parse().unwrap(),
            ..client(v6)
        };
        for piece in fragments(&udp(MACS, ends, &[5; 3000]), 1400) {
            let out = world.run(&piece);
            assert_eq!((out.action, &out.frame), (PASS, &piece));
        }
        let mine = std::net::SocketAddr::new(World::nat_source(v6), 53);
        let ends = Ends {
            to: mine,
            ..client(v6)
        };
        for piece in fragments(&udp(MACS, ends, &[5; 3000]), 1400) {
            let out = world.run(&piece);
            assert_eq!(
                (out.action, &out.frame),
                (PASS, &piece),
                "the host's own address"
            );
        }
    }
}
