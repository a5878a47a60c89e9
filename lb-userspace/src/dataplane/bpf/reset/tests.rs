use std::net::IpAddr;

use lb_common::abi::{
    address::{Addr4, Addr6, words_of},
    backend::{V6, macs},
    flow::REPLY,
};

use super::*;
use crate::{model::Mac, packet_socket::Frame as _};

const CLIENT_MAC: Mac = [2, 0, 0, 0, 0, 0xC1];
const OUR_MAC: Mac = [2, 0, 0, 0, 0, 0x0B];
const BACKEND_MAC: Mac = [2, 0, 0, 0, 0, 0xBE];

fn v4(text: &str) -> Addr4 {
    Addr4::from(text.parse::<std::net::Ipv4Addr>().unwrap())
}

fn v6(text: &str) -> Addr6 {
    Addr6::from(text.parse::<std::net::Ipv6Addr>().unwrap())
}

fn exit() -> Exit {
    Exit {
        ifindex: 3,
        from: mac::words(OUR_MAC),
        mtu: 1500,
        ..Exit::default()
    }
}

fn backend(mode: Mode, address: &str, source: &str) -> Backend {
    let (address, source): (IpAddr, IpAddr) = (address.parse().unwrap(), source.parse().unwrap());
    Backend {
        macs: macs(BACKEND_MAC, OUR_MAC),
        ifindex: 4,
        flags: if address.is_ipv6() { V6 } else { 0 },
        mode: mode.byte(),
        address: words_of(address),
        source: words_of(source),
        ..Backend::default()
    }
}

fn entry<A: Address>(state: u32, seq: u32, ack: u32) -> Flow<A> {
    Flow {
        state,
        seq,
        ack,
        client_mac: mac::words(CLIENT_MAC),
        ..Flow::default()
    }
}

/// What an end reads.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    macs: [u8; 12],
    source: String,
    destination: String,
    seq: u32,
    ack: u32,
}

/// Reads a frame, `outer` bytes of tunnel header left out, and checks all
/// checksums.
fn read(frame: &Frame, outer: usize) -> Read {
    let bytes = frame.bytes();
    let ip = &bytes[wire::ETHERNET_LEN + outer..];
    let v6 = ip[0] >> 4 == 6;
    let (source, destination, tcp): (IpAddr, IpAddr, &[u8]) = if v6 {
        let address = |at: usize| <[u8; 16]>::try_from(&ip[at..at + 16]).unwrap().into();
        assert_eq!(u16::from_be_bytes([ip[4], ip[5]]), 20);
        assert_eq!(ip[6], wire::TCP);
        (address(8), address(24), &ip[40..])
    } else {
        let address = |at: usize| <[u8; 4]>::try_from(&ip[at..at + 4]).unwrap().into();
        assert_eq!(checksum::fold(checksum::sum(&ip[..20])), 0xFFFF);
        assert_eq!(u16::from_be_bytes([ip[2], ip[3]]), 40);
        assert_eq!(ip[9], wire::TCP);
        (address(12), address(16), &ip[20..])
    };
    assert_eq!(tcp.len(), 20);
    let words = |a: IpAddr| words_of(a).map(u64::from).iter().sum::<u64>();
    let pseudo =
        words(source) + words(destination) + u64::from(6_u16.to_be()) + u64::from(20_u16.to_be());
    assert_eq!(checksum::fold(pseudo + checksum::sum(tcp)), 0xFFFF);
    assert_eq!(tcp[13], tcp::RST | tcp::ACK);
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let number = |at: usize| u32::from_be_bytes(tcp[at..at + 4].try_into().unwrap());
    Read {
        macs: bytes[..12].try_into().unwrap(),
        source: std::net::SocketAddr::new(source, port(0)).to_string(),
        destination: std::net::SocketAddr::new(destination, port(2)).to_string(),
        seq: number(4),
        ack: number(8),
    }
}

fn both(to: Mac) -> [u8; 12] {
    [to, OUR_MAC].concat().try_into().unwrap()
}

fn key4() -> FlowKey<Addr4> {
    FlowKey {
        source: v4("10.0.0.2"),
        destination: v4("10.0.0.100"),
        ports: Ports::new(40_000, 80),
        protocol: u32::from(wire::TCP),
    }
}

#[test]
fn an_idle_nat_flow_gets_one_exact_reset_at_each_end() {
    let mut forward = entry(NAT, 1000, 5000);
    forward.peer = v4("10.0.1.1");
    forward.ports = Ports::new(2048, 8080);
    let reply = entry(NAT | REPLY, 5000, 1000);
    let key = key4();
    let flows = Flows {
        key: &key,
        forward: &forward,
        reply: Some(&reply),
    };
    let to_client: Vec<_> = flows.to_client(&exit()).collect();
    assert_eq!(to_client.len(), 1);
    assert_eq!(to_client[0].ifindex, 3);
    assert_eq!(
        read(&to_client[0], 0),
        Read {
            macs: both(CLIENT_MAC),
            source: "10.0.0.100:80".to_owned(),
            destination: "10.0.0.2:40000".to_owned(),
            seq: 5000,
            ack: 1000,
        }
    );
    let backend = backend(Mode::Nat, "10.0.1.11", "10.0.1.1");
    let to_backend: Vec<_> = flows.to_backend(&backend).collect();
    assert_eq!(to_backend.len(), 1);
    assert_eq!(to_backend[0].ifindex, 4);
    assert_eq!(
        read(&to_backend[0], 0),
        Read {
            macs: both(BACKEND_MAC),
            source: "10.0.1.1:2048".to_owned(),
            destination: "10.0.1.11:8080".to_owned(),
            seq: 1000,
            ack: 5000,
        }
    );
}

#[test]
fn with_data_under_way_both_candidates_are_sent_the_older_first() {
    // The client has acknowledged 5000 of the 9000 that were sent; the
    // backend 700 of 1000, over the wrap of the number space.
    let base = u32::MAX - 4000;
    let forward = entry::<Addr4>(NAT, 1000, base.wrapping_add(5000));
    let reply = entry(NAT | REPLY, base.wrapping_add(9000), 700);
    let key = key4();
    let flows = Flows {
        key: &key,
        forward: &forward,
        reply: Some(&reply),
    };
    let seqs = |frames: Vec<Frame>| -> Vec<u32> {
        frames.iter().map(|frame| read(frame, 0).seq).collect()
    };
    assert_eq!(
        seqs(flows.to_client(&exit()).collect()),
        [base.wrapping_add(5000), base.wrapping_add(9000)]
    );
    let backend = backend(Mode::Nat, "10.0.1.11", "10.0.1.1");
    assert_eq!(seqs(flows.to_backend(&backend).collect()), [700, 1000]);
}

#[test]
fn a_dsr_backend_is_told_in_the_clients_name() {
    let forward = entry(0, 1000, 5000);
    let key = key4();
    let flows = Flows {
        key: &key,
        forward: &forward,
        reply: None,
    };
    let backend = backend(Mode::Dsr, "10.0.1.11", "10.0.1.1");
    let frames: Vec<_> = flows.to_backend(&backend).collect();
    assert_eq!(frames.len(), 1);
    assert_eq!(
        read(&frames[0], 0),
        Read {
            macs: both(BACKEND_MAC),
            source: "10.0.0.2:40000".to_owned(),
            destination: "10.0.0.100:80".to_owned(),
            seq: 1000,
            ack: 5000,
        }
    );
}

fn key6() -> FlowKey<Addr6> {
    FlowKey {
        source: v6("fd00::2"),
        destination: v6("fd00::100"),
        ports: Ports::new(40_000, 443),
        protocol: u32::from(wire::TCP),
    }
}

#[test]
fn ipv6_has_right_checksums_too() {
    let mut forward = entry(NAT, 1, 2);
    forward.peer = v6("fd00:1::1");
    forward.ports = Ports::new(2048, 8443);
    let key = key6();
    let flows = Flows {
        key: &key,
        forward: &forward,
        reply: None,
    };
    let frame = flows.to_client(&exit()).next().unwrap();
    assert_eq!(frame.bytes()[12..14], wire::ETHERTYPE_IPV6.to_ne_bytes());
    assert_eq!(read(&frame, 0).destination, "[fd00::2]:40000");
    let backend = backend(Mode::Nat, "fd00:1::11", "fd00:1::1");
    let frame = flows.to_backend(&backend).next().unwrap();
    assert_eq!(read(&frame, 0).source, "[fd00:1::1]:2048");
}

#[test]
fn an_ipip_backend_is_told_through_its_tunnel() {
    let mut forward = entry(0, 1000, 5000);
    forward.ports = Ports(0x1234_u32.to_be());
    let key = key4();
    let flows = Flows {
        key: &key,
        forward: &forward,
        reply: None,
    };
    let in_v4 = backend(Mode::Ipip, "10.0.1.11", "172.16.0.0");
    let frame = flows.to_backend(&in_v4).next().unwrap();
    let ip = &frame.bytes()[14..];
    assert_eq!(checksum::fold(checksum::sum(&ip[..20])), 0xFFFF);
    assert_eq!(ip[9], wire::IPIP);
    assert_eq!(&ip[12..16], &[172, 16, 0x12, 0x34], "as its packets");
    assert_eq!(read(&frame, 20).destination, "10.0.0.100:80");

    let in_v6 = backend(Mode::Ipip, "fd00:1::11", "fd00:2::");
    let frame = flows.to_backend(&in_v6).next().unwrap();
    assert_eq!(frame.bytes()[12..14], wire::ETHERTYPE_IPV6.to_ne_bytes());
    assert_eq!(frame.bytes()[14 + 6], wire::IPIP);
    assert_eq!(read(&frame, 40).source, "10.0.0.2:40000");

    let forward = entry(0, 1, 2);
    let key = key6();
    let flows = Flows {
        key: &key,
        forward: &forward,
        reply: None,
    };
    let frame = flows.to_backend(&in_v6).next().unwrap();
    assert_eq!(frame.bytes().len(), MAX_LEN);
    assert_eq!(frame.bytes()[14 + 6], wire::IPV6_IN);
    assert_eq!(read(&frame, 40).destination, "[fd00::100]:443");
}
