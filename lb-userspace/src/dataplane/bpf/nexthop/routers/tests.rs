use std::io;

use super::*;
use crate::netlink::{Hop, LinkKind, Neighbour, Route};

const A: Mac = [2, 0, 0, 0, 0, 0xA];
const B: Mac = [2, 0, 0, 0, 0, 0xB];
const OURS: Mac = [2, 0, 0, 0, 0, 1];
const ETH0: u32 = 1;
const FIRST: ExitNumber = MAX_INTERFACES as ExitNumber;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A kernel that knows nobody and asks whom it is told to.
#[derive(Default)]
struct Fake {
    solicited: Vec<End>,
}

impl Kernel for Fake {
    fn route(&mut self, _: IpAddr) -> io::Result<Route> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn neighbour(&mut self, _: u32, _: IpAddr) -> io::Result<NeighbourIs> {
        Ok(NeighbourIs::Unknown)
    }
    fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        Ok(Vec::new())
    }
    fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        self.solicited.push((ifindex, address));
        Ok(())
    }
}

/// eth0, which is served; eth1 has the index 2 and is not.
fn eth0() -> Link {
    Link {
        index: ETH0,
        name: "eth0".to_owned(),
        up: true,
        loopback: false,
        mac: Some(OURS),
        mtu: 1500,
        kind: LinkKind::Other,
        xdp: None,
        bare: false,
    }
}

fn prefix(text: &str) -> Prefix {
    let (address, len) = text.split_once('/').unwrap();
    Prefix {
        address: ip(address),
        len: len.parse().unwrap(),
    }
}

fn route(to: &str, ifindex: u32, gateways: &[&str]) -> HostRoute {
    let hop = |gateway| Hop { ifindex, gateway };
    let hops = gateways.iter().map(|gateway| hop(Some(ip(gateway))));
    HostRoute {
        prefix: prefix(to),
        metric: 0,
        mtu: None,
        hops: if gateways.is_empty() {
            vec![hop(None)]
        } else {
            hops.collect()
        },
    }
}

struct Host {
    kernel: Fake,
    routers: Routers,
    now: Instant,
}

impl Host {
    fn new() -> Self {
        Self {
            kernel: Fake::default(),
            routers: Routers::default(),
            now: Instant::now(),
        }
    }

    fn look(&mut self, routes: &[HostRoute]) {
        let link = eth0();
        let served = std::iter::once(&link);
        self.routers
            .look(&mut self.kernel, routes, served, self.now);
    }

    fn hear(&mut self, router: &str, mac: Mac) {
        let end = (ETH0, ip(router));
        self.routers.heard(&end, NeighbourIs::Learnt(mac), self.now);
    }

    fn news(&mut self) -> Option<Known> {
        self.routers.news(|_| "eth0".to_owned()).cloned()
    }

    fn known(&mut self) -> Known {
        self.news().expect("news")
    }
}

#[test]
fn a_gateway_on_a_served_interface_gets_a_number_and_is_asked_for() {
    let mut host = Host::new();
    host.look(&[
        route("0.0.0.0/0", ETH0, &["10.0.0.254"]),
        route("10.9.0.0/16", 2, &["10.5.0.254"]),
        route("10.0.0.0/24", ETH0, &[]),
    ]);
    assert_eq!(host.kernel.solicited, [(ETH0, ip("10.0.0.254"))]);
    let known = host.known();
    let row = known.rows[&FIRST];
    assert_eq!(
        (row.end, row.ifindex, row.from, row.to, row.mtu),
        ((ETH0, ip("10.0.0.254")), ETH0, OURS, None, 1500)
    );
    assert_eq!(
        known.routes,
        [
            ((ETH0, prefix("0.0.0.0/0")), Leads::To(FIRST)),
            ((ETH0, prefix("10.0.0.254/32")), Leads::To(FIRST)),
            ((ETH0, prefix("10.0.0.0/24")), Leads::OnLink),
        ]
        .into()
    );
    host.hear("10.0.0.254", A);
    let known = host.known();
    assert_eq!(known.rows[&FIRST].to, Some(A));
    assert_eq!(known.macs, [((ETH0, A, false), FIRST)].into());
    assert_eq!(host.news(), None, "nothing is said twice");
}

#[test]
fn a_router_that_answers_by_another_mac_keeps_its_number_and_both_are_known() {
    for (gateway, to) in [("10.0.0.254", "0.0.0.0/0"), ("fe80::1", "::/0")] {
        let mut host = Host::new();
        host.look(&[route(to, ETH0, &[gateway])]);
        host.hear(gateway, A);
        assert_eq!(host.known().rows[&FIRST].to, Some(A));
        host.hear(gateway, B);
        let known = host.known();
        assert_eq!(known.rows[&FIRST].to, Some(B));
        let v6 = ip(gateway).is_ipv6();
        let macs = [((ETH0, A, v6), FIRST), ((ETH0, B, v6), FIRST)];
        assert_eq!(known.macs, macs.into());
        // Silence is no news: there is no better way.
        let end = (ETH0, ip(gateway));
        host.routers.heard(&end, NeighbourIs::Silent, host.now);
        assert_eq!(host.news(), None);
    }
}

#[test]
fn whose_a_mac_is_now_counts_before_whose_it_was() {
    let mut host = Host::new();
    host.look(&[
        route("0.0.0.0/0", ETH0, &["10.0.0.254"]),
        route("10.7.0.0/16", ETH0, &["10.0.0.253"]),
    ]);
    let known = host.known();
    let number = |end: &str| {
        let mut rows = known.rows.iter();
        *rows.find(|(_, row)| row.end.1 == ip(end)).unwrap().0
    };
    let (virtual_one, own) = (number("10.0.0.254"), number("10.0.0.253"));
    host.hear("10.0.0.254", A);
    host.hear("10.0.0.253", B);
    host.hear("10.0.0.254", B);
    host.hear("10.0.0.253", A);
    let macs = host.known().macs;
    assert_eq!(macs[&(ETH0, A, false)], own);
    assert_eq!(macs[&(ETH0, B, false)], virtual_one);
}

#[test]
fn what_a_router_led_to_goes_by_the_one_that_the_routes_name_now() {
    let mut host = Host::new();
    host.look(&[
        route("0.0.0.0/0", ETH0, &["10.0.0.253", "10.0.0.252"]),
        route("10.7.0.0/16", ETH0, &["10.0.0.251"]),
    ]);
    for (router, mac) in [
        ("10.0.0.252", [2; 6]),
        ("10.0.0.253", [3; 6]),
        ("10.0.0.251", [4; 6]),
    ] {
        host.hear(router, mac);
    }
    let before = host.known();
    let number = |end: &str| {
        let mut rows = before.rows.iter();
        *rows.find(|(_, row)| row.end.1 == ip(end)).unwrap().0
    };
    // One of the two that share the default route goes, and the one of 10.7.0.0/16.
    host.look(&[route("0.0.0.0/0", ETH0, &["10.0.0.252"])]);
    let after = host.known();
    for gone in ["10.0.0.253", "10.0.0.251"] {
        let row = after.rows[&number(gone)];
        assert_eq!((row.end.1, row.to), (ip(gone), Some([2; 6])), "{gone}");
    }
    // And comes back, with its own number and address.
    host.look(&[route("0.0.0.0/0", ETH0, &["10.0.0.253"])]);
    let back = host.known();
    assert_eq!(back.rows[&number("10.0.0.253")].to, Some([3; 6]));
    assert_eq!(back.rows[&number("10.0.0.252")].to, Some([3; 6]));
    // No route at all: they stay where they were.
    host.look(&[]);
    let none = host.known();
    assert_eq!(none.rows, back.rows);
    assert!(none.routes.is_empty());
}

#[test]
fn numbers_outlive_the_agent() {
    let mut host = Host::new();
    host.look(&[route("0.0.0.0/0", ETH0, &["10.0.0.254"])]);
    host.hear("10.0.0.254", A);
    let rows = host.known().rows;
    host.routers = Routers::recover(rows.clone());
    host.look(&[
        route("0.0.0.0/0", ETH0, &["10.0.0.254"]),
        route("10.7.0.0/16", ETH0, &["10.0.0.1"]),
    ]);
    let known = host.known();
    assert_eq!(known.rows[&FIRST], rows[&FIRST]);
    assert_eq!(known.rows[&(FIRST + 1)].end.1, ip("10.0.0.1"));
}

#[test]
fn more_routers_than_there_is_room_for_leave_the_first_ones_alone() {
    let mut host = Host::new();
    let gateway = |n: u32| Ipv4Addr::from(0x0A00_0000 + n).to_string();
    let routes: Vec<_> = (1..=MAX_EXITS)
        .map(|n| {
            route(
                &format!("10.{}.{}.0/24", n >> 8, n & 255),
                ETH0,
                &[&gateway(n)],
            )
        })
        .collect();
    host.look(&routes);
    let known = host.known();
    let room = (MAX_EXITS - MAX_INTERFACES) as usize;
    assert_eq!(known.rows.len(), room);
    assert!(known.routes.len() <= MAX_ROUTES as usize);
    let last = *known.rows.keys().max().unwrap();
    assert_eq!(u32::from(last), MAX_EXITS - 1);
    // A new one takes the number of one that has gone.
    host.look(&routes[1..]);
    assert_eq!(host.known().rows.len(), room);
}
