//! The backend's end of a tunnel gives back what the client sent.

use std::net::{Ipv4Addr, Ipv6Addr};

use aya::{Ebpf, maps::HashMap, programs::Xdp};
use lb_common::abi::address::{Addr4, Addr6};

use crate::{
    frame::{SYN, Segment, tagged, tcp, udp, with_hops, with_options},
    udp::client,
    world::{self, CLIENT_MAC, Mode, OUR_MAC, Out, PASS, VIP4, VIP6, World},
};

const MACS: ([u8; 6], [u8; 6]) = (CLIENT_MAC, OUR_MAC);

/// The program of a backend; it opens packets to the VIPs.
struct Opener(Ebpf);

impl Opener {
    fn new() -> Self {
        let mut ebpf = Ebpf::load(lb_userspace::object::DECAP).expect("a sound object");
        let vip4: Ipv4Addr = VIP4.parse().unwrap();
        let map = ebpf.map_mut("VIPS_V4").expect("a table of VIPs");
        let mut vips: HashMap<_, Addr4, u32> = map.try_into().expect("a hash table");
        vips.insert(Addr4::from(vip4), 1, 0).unwrap();
        let vip6: Ipv6Addr = VIP6.parse().unwrap();
        let map = ebpf.map_mut("VIPS_V6").expect("a table of VIPs");
        let mut vips: HashMap<_, Addr6, u32> = map.try_into().expect("a hash table");
        vips.insert(Addr6::from(vip6), 1, 0).unwrap();
        let program: &mut Xdp = ebpf.program_mut("decap").unwrap().try_into().unwrap();
        program.load().expect("the kernel takes decap");
        Self(ebpf)
    }

    fn open(&self, frame: &[u8]) -> Out {
        let program = self.0.program("decap").unwrap();
        let program: &Xdp = program.try_into().unwrap();
        world::run(program, frame)
    }
}

#[test]
fn what_the_balancer_puts_around_a_packet_the_backend_takes_off() {
    let opener = Opener::new();
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
        let opened = opener.open(&wrapped.frame);
        assert_eq!(opened.action, PASS);
        assert_eq!(opened.frame[..12], wrapped.frame[..12], "the MAC addresses");
        assert_eq!(opened.frame[12..], with_hops(&sent, 63)[12..], "the packet");

        let tag = tagged(&wrapped.frame, &[[0x81, 0, 0, 9]]);
        assert_eq!(opener.open(&tag).frame, opened.frame, "behind a tag");
    }
}

#[test]
fn what_is_not_for_a_vip_stays_closed() {
    let mut world = World::new(Mode::Ipip, 1);
    let wrapped = world.run(&udp(MACS, client(false), b"hello")).frame;
    let opener = Opener::new();
    let untouched = |what: &str, frame: &[u8]| {
        let out = opener.open(frame);
        assert_eq!(out.action, PASS, "{what}");
        assert!(out.frame == frame, "{what} was changed");
    };
    let mut other = wrapped.clone();
    other[14 + 20 + 19] = 99;
    untouched("a tunnelled packet to another address", &other);
    untouched("a packet without a tunnel", &udp(MACS, client(false), b"x"));
    let mut fragment = wrapped.clone();
    fragment[14 + 6] = 0x20;
    untouched("a fragment of a tunnelled packet", &fragment);
    for len in 14..14 + 20 + 20 {
        untouched("a truncated packet", &wrapped[..len]);
    }
    let options = with_options(&wrapped, &[1, 1, 1, 1]);
    let opened = opener.open(&options);
    assert_eq!(
        opened.frame[14..],
        wrapped[34..],
        "options of the outer header go too"
    );
}
