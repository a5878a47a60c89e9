//! The backend's end of a tunnel gives back what the client sent.

use std::net::{Ipv4Addr, Ipv6Addr};

use aya::{
    Ebpf,
    maps::{HashMap, PerCpuArray, PerCpuValues},
    programs::Xdp,
};
use lb_common::abi::address::{Addr4, Addr6};

use crate::{
    frame::{SYN, Segment, tagged, tcp, udp, with_class, with_hops, with_options},
    udp::client,
    world::{self, CLIENT_MAC, DROP, Mode, OUR_MAC, Out, PASS, VIP4, VIP6, World},
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

    /// A counter of the program, over all CPUs, since it was last asked.
    fn take(&mut self, counter: &str) -> u64 {
        let map = self.0.map_mut(counter).expect("a counter");
        let mut counts: PerCpuArray<_, u64> = map.try_into().expect("an array");
        let found = counts.get(&0, 0).expect("a readable counter");
        let none = PerCpuValues::try_from(vec![0; found.len()]).expect("one for each CPU");
        counts.set(0, none, 0).expect("a writable counter");
        found.iter().sum()
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
    for (inner_v6, outer_v6) in [(false, false), (true, true), (false, true), (true, false)] {
        let mut world = World::tunnels(inner_v6, outer_v6, 4);
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
fn the_congestion_that_a_tunnel_has_met_is_told_to_the_packet_inside() {
    const NOT: u8 = 0b00;
    const ECT_1: u8 = 0b01;
    const ECT_0: u8 = 0b10;
    const CE: u8 = 0b11;
    let mut opener = Opener::new();
    for (inner_v6, outer_v6) in [(false, false), (true, true), (false, true), (true, false)] {
        let mut world = World::tunnels(inner_v6, outer_v6, 1);
        let whole = udp(MACS, client(inner_v6), b"hello");
        // RFC 6040, figure 4.
        for (inside, outside, expected) in [
            (NOT, NOT, Some(NOT)),
            (NOT, ECT_0, Some(NOT)),
            (NOT, ECT_1, Some(NOT)),
            (NOT, CE, None),
            (ECT_0, NOT, Some(ECT_0)),
            (ECT_0, ECT_0, Some(ECT_0)),
            (ECT_0, ECT_1, Some(ECT_1)),
            (ECT_0, CE, Some(CE)),
            (ECT_1, NOT, Some(ECT_1)),
            (ECT_1, ECT_0, Some(ECT_1)),
            (ECT_1, ECT_1, Some(ECT_1)),
            (ECT_1, CE, Some(CE)),
            (CE, NOT, Some(CE)),
            (CE, ECT_0, Some(CE)),
            (CE, ECT_1, Some(CE)),
            (CE, CE, Some(CE)),
        ] {
            let sent = with_class(&whole, 0xB8 | inside);
            let wrapped = with_class(&world.run(&sent).frame, 0x28 | outside);
            let opened = opener.open(&wrapped);
            let Some(told) = expected else {
                assert_eq!(opened.action, DROP, "{inside:02b} in {outside:02b}");
                continue;
            };
            assert_eq!(opened.action, PASS);
            let told = with_hops(&with_class(&whole, 0xB8 | told), 63);
            assert_eq!(
                opened.frame[12..],
                told[12..],
                "{inside:02b} in {outside:02b}"
            );
        }
        assert_eq!((opener.take("OPENED"), opener.take("CONGESTED")), (15, 1));
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
