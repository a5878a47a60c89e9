use std::io;

use super::{
    super::ends::{ASK, CONFIRM, RATE},
    *,
};
use crate::netlink::{LinkKind, NeighbourIs};

const BACKEND: BackendIndex = 5;
const MAC: Mac = [2, 0, 0, 0, 0, 9];

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A host with eth0 (served), eth1 (not) and tun0 (no Ethernet).
struct Fake {
    route: io::Result<Route>,
    neighbour: NeighbourIs,
    solicited: Vec<(u32, IpAddr)>,
    /// It knows as many neighbours as it can.
    is_full: bool,
}

impl Kernel for Fake {
    fn route(&mut self, _: IpAddr) -> io::Result<Route> {
        match &self.route {
            Ok(route) => Ok(route.clone()),
            Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }
    fn neighbour(&mut self, _: u32, _: IpAddr) -> io::Result<NeighbourIs> {
        Ok(self.neighbour)
    }
    fn neighbours(&mut self) -> io::Result<Vec<Neighbour>> {
        Ok(Vec::new())
    }
    fn solicit(&mut self, ifindex: u32, address: IpAddr) -> io::Result<()> {
        self.solicited.push((ifindex, address));
        if self.is_full {
            return Err(io::Error::from_raw_os_error(libc::ENOBUFS));
        }
        Ok(())
    }
}

fn direct(ifindex: u32) -> Route {
    Route {
        kind: RouteKind::Unicast,
        ifindex: Some(ifindex),
        gateway: None,
        source: Some(ip("10.0.1.1")),
        mtu: None,
    }
}

fn host(route: Route, neighbour: NeighbourIs) -> (Fake, Resolver) {
    let kernel = Fake {
        route: Ok(route),
        neighbour,
        solicited: Vec::new(),
        is_full: false,
    };
    let mut resolver = Resolver::new(vec!["eth0".to_owned(), "ib0".to_owned(), "tun0".to_owned()]);
    let link = |index, name: &str, mac| Link {
        index,
        name: name.to_owned(),
        up: true,
        loopback: false,
        mac,
        mtu: 1500,
        kind: LinkKind::Other,
        xdp: None,
        bare: name == "tun0",
    };
    resolver.set_links(vec![
        link(1, "eth0", Some([2, 0, 0, 0, 0, 1])),
        link(2, "eth1", Some([2, 0, 0, 0, 0, 2])),
        link(3, "ib0", None),
        link(4, "tun0", None),
    ]);
    (kernel, resolver)
}

fn neighbour(address: &str, state: NeighbourIs) -> Neighbour {
    Neighbour {
        ifindex: 1,
        address: ip(address),
        state,
    }
}

fn watch(resolver: &mut Resolver, kernel: &mut Fake, address: &str, now: Instant) {
    resolver.watch(kernel, &[(BACKEND, ip(address))], now);
}

fn news(resolver: &mut Resolver) -> Option<Result<Adjacency, Unreachable>> {
    let mut news = resolver.news();
    assert!(news.len() <= 1);
    news.pop().map(|(backend, adjacency)| {
        assert_eq!(backend, BACKEND);
        adjacency
    })
}

#[test]
fn a_backend_on_the_link_is_reached_by_its_own_mac() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Learnt(MAC));
    watch(&mut resolver, &mut kernel, "10.0.1.11", Instant::now());
    let adjacency = news(&mut resolver).unwrap().unwrap();
    assert_eq!(
        (adjacency.ifindex, adjacency.to, adjacency.mtu),
        (1, MAC, 1500)
    );
    assert_eq!(adjacency.source, ip("10.0.1.1"));
    assert_eq!(news(&mut resolver), None, "said once");
    assert!(kernel.solicited.is_empty());
}

#[test]
fn a_backend_behind_a_router_is_reached_by_the_routers_mac() {
    let mut route = direct(1);
    route.gateway = Some(ip("10.0.1.254"));
    route.mtu = Some(1400);
    let (mut kernel, mut resolver) = host(route, NeighbourIs::Unknown);
    watch(&mut resolver, &mut kernel, "10.9.9.9", Instant::now());
    assert_eq!(kernel.solicited, [(1, ip("10.0.1.254"))]);
    assert_eq!(news(&mut resolver), None, "nothing is known yet");
    resolver.heard(
        &Neighbour {
            ifindex: 1,
            address: ip("10.0.1.254"),
            state: NeighbourIs::Learnt(MAC),
        },
        Instant::now(),
    );
    let adjacency = news(&mut resolver).unwrap().unwrap();
    assert_eq!((adjacency.to, adjacency.mtu), (MAC, 1400));
}

#[test]
fn a_known_way_lasts_until_there_is_no_answer() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Learnt(MAC));
    let backend = ip("10.0.1.11");
    watch(&mut resolver, &mut kernel, "10.0.1.11", Instant::now());
    assert!(news(&mut resolver).unwrap().is_ok());
    let mut hear = |state| {
        resolver.heard(
            &Neighbour {
                ifindex: 1,
                address: backend,
                state,
            },
            Instant::now(),
        );
        news(&mut resolver)
    };
    assert_eq!(hear(NeighbourIs::Asked), None);
    assert_eq!(hear(NeighbourIs::Unknown), None, "evicted by the kernel");
    assert!(matches!(
        hear(NeighbourIs::Silent),
        Some(Err(Unreachable::Silent { .. }))
    ));
    assert_eq!(hear(NeighbourIs::Asked), None, "still no answer");
    assert!(hear(NeighbourIs::Learnt(MAC)).unwrap().is_ok());
}

#[test]
fn a_backend_that_moves_to_another_mac_is_followed() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Learnt(MAC));
    watch(&mut resolver, &mut kernel, "10.0.1.11", Instant::now());
    news(&mut resolver);
    let other = [2, 0, 0, 0, 0, 10];
    resolver.heard(
        &Neighbour {
            ifindex: 1,
            address: ip("10.0.1.11"),
            state: NeighbourIs::Learnt(other),
        },
        Instant::now(),
    );
    assert_eq!(news(&mut resolver).unwrap().unwrap().to, other);
}

#[test]
fn neighbours_are_asked_again_and_confirmed_but_not_those_set_by_hand() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Asked);
    let start = Instant::now();
    watch(&mut resolver, &mut kernel, "10.0.1.11", start);
    assert_eq!(kernel.solicited.len(), 1);
    resolver.tick(&mut kernel, start + ASK / 2);
    assert_eq!(kernel.solicited.len(), 1);
    resolver.tick(&mut kernel, start + ASK);
    assert_eq!(kernel.solicited.len(), 2);
    let mut hear = |state, at| resolver.heard(&neighbour("10.0.1.11", state), at);
    let answered = start + ASK * 2;
    hear(NeighbourIs::Learnt(MAC), answered);
    resolver.tick(&mut kernel, answered + CONFIRM / 2);
    assert_eq!(kernel.solicited.len(), 2);
    resolver.tick(&mut kernel, answered + CONFIRM);
    assert_eq!(kernel.solicited.len(), 3);
    let set = neighbour("10.0.1.11", NeighbourIs::Fixed(MAC));
    resolver.heard(&set, answered + CONFIRM);
    resolver.tick(&mut kernel, answered + CONFIRM * 10);
    assert_eq!(kernel.solicited.len(), 3);
}

#[test]
fn a_single_silent_neighbour_is_asked_every_second() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Silent);
    let start = Instant::now();
    watch(&mut resolver, &mut kernel, "10.0.1.11", start);
    for second in 1..=60 {
        resolver.tick(&mut kernel, start + ASK * second);
        assert_eq!(kernel.solicited.len(), second as usize);
    }
}

#[test]
fn backends_behind_one_router_cost_one_question() {
    let mut route = direct(1);
    route.gateway = Some(ip("10.0.1.254"));
    let (mut kernel, mut resolver) = host(route, NeighbourIs::Unknown);
    let now = Instant::now();
    let backends: Vec<_> = (0..1000_u16).map(|n| (n, ip("10.9.9.9"))).collect();
    resolver.watch(&mut kernel, &backends, now);
    assert_eq!(kernel.solicited, [(1, ip("10.0.1.254"))]);
    resolver.heard(&neighbour("10.0.1.254", NeighbourIs::Learnt(MAC)), now);
    let news = resolver.news();
    assert_eq!(news.len(), 1000);
    assert!(news.iter().all(|(_, adjacency)| adjacency.is_ok()));
}

#[test]
fn however_many_are_silent_few_are_asked_and_one_that_answers_is_noticed_at_once() {
    const MANY: u16 = 20_000;
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Unknown);
    let start = Instant::now();
    let address = |n: u16| IpAddr::from([10, 8, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
    let backends: Vec<_> = (0..MANY).map(|n| (n, address(n))).collect();
    resolver.watch(&mut kernel, &backends, start);
    assert_eq!(kernel.solicited.len(), usize::from(MANY), "each at once");
    for n in 0..MANY {
        let silent = Neighbour {
            address: address(n),
            ..neighbour("10.8.0.0", NeighbourIs::Silent)
        };
        resolver.heard(&silent, start);
    }
    assert_eq!(resolver.news().len(), usize::from(MANY));

    kernel.solicited.clear();
    let seconds = 300;
    let mut now = start;
    for _ in 0..seconds * 2 {
        now += Duration::from_millis(500);
        resolver.tick(&mut kernel, now);
    }
    let most = (seconds + 1) * RATE;
    assert!(kernel.solicited.len() <= most as usize);
    // And everybody has had a turn.
    let asked: BTreeSet<_> = kernel.solicited.iter().collect();
    assert_eq!(asked.len(), usize::from(MANY));

    let answer = Neighbour {
        address: address(777),
        ..neighbour("10.8.0.0", NeighbourIs::Learnt(MAC))
    };
    resolver.heard(&answer, now);
    let news = resolver.news();
    assert!(matches!(&*news, [(777, Ok(adjacency))] if adjacency.to == MAC));
}

#[test]
fn a_host_that_does_not_ask_is_told_of_until_it_does() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Unknown);
    kernel.is_full = true;
    let start = Instant::now();
    watch(&mut resolver, &mut kernel, "10.0.1.11", start);
    let error = news(&mut resolver).unwrap().unwrap_err();
    assert!(error.to_string().contains("gc_thresh3"), "{error}");
    kernel.is_full = false;
    resolver.tick(&mut kernel, start + ASK);
    resolver.heard(
        &neighbour("10.0.1.11", NeighbourIs::Learnt(MAC)),
        start + ASK,
    );
    assert!(news(&mut resolver).unwrap().is_ok());
}

#[test]
fn reasons_that_change_all_the_time_are_told_together_and_ways_at_once() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Unknown);
    kernel.is_full = true;
    let start = Instant::now();
    let address = |n: u16| ip(&format!("10.0.1.{n}"));
    let backends: Vec<_> = (1..=20).map(|n| (n, address(n))).collect();
    resolver.watch(&mut kernel, &backends, start);
    resolver.tick(&mut kernel, start);
    assert_eq!(resolver.news().len(), 20, "a first reason is told at once");

    kernel.is_full = false;
    let goes_silent = |resolver: &mut Resolver, n, now| {
        let silent = NeighbourIs::Silent;
        resolver.heard(&neighbour(&format!("10.0.1.{n}"), silent), now);
        resolver.news()
    };
    let now = start + ASK;
    resolver.tick(&mut kernel, now);
    assert_eq!(goes_silent(&mut resolver, 1, now).len(), 1);
    for n in 2..20 {
        assert_eq!(goes_silent(&mut resolver, n, now), []);
    }
    resolver.heard(&neighbour("10.0.1.20", NeighbourIs::Learnt(MAC)), now);
    assert!(matches!(&*resolver.news(), [(20, Ok(_))]));

    resolver.tick(&mut kernel, now + EXPLAIN / 2);
    assert_eq!(resolver.news(), []);
    resolver.tick(&mut kernel, now + EXPLAIN);
    let silent = |reason: &Result<_, _>| matches!(reason, Err(Unreachable::Silent { .. }));
    let news = resolver.news();
    assert_eq!(news.len(), 18);
    assert!(news.iter().all(|(_, reason)| silent(reason)));
}

#[test]
fn where_nobody_has_a_mac_address_nobody_is_asked_for_one() {
    let (mut kernel, mut resolver) = host(direct(4), NeighbourIs::Unknown);
    watch(&mut resolver, &mut kernel, "10.0.1.11", Instant::now());
    let adjacency = news(&mut resolver).unwrap().unwrap();
    assert!(adjacency.bare, "{adjacency:?}");
    assert_eq!((adjacency.to, adjacency.from), Default::default());
    assert!(kernel.solicited.is_empty(), "{:?}", kernel.solicited);
    resolver.forget(1);
}

#[test]
fn why_there_is_no_way_is_said() {
    let with = |change: fn(&mut Fake)| {
        let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Learnt(MAC));
        change(&mut kernel);
        watch(&mut resolver, &mut kernel, "10.0.1.11", Instant::now());
        news(&mut resolver).unwrap().unwrap_err()
    };
    assert!(matches!(
        with(|k| k.route = Err(io::ErrorKind::NetworkUnreachable.into())),
        Unreachable::NoRoute { .. }
    ));
    assert_eq!(
        with(|k| k.route = Ok(direct(2))),
        Unreachable::NotServed {
            to: ip("10.0.1.11"),
            interface: "eth1".to_owned()
        }
    );
    assert!(matches!(
        with(|k| k.route = Ok(direct(3))),
        Unreachable::NotEthernet { .. }
    ));
    assert!(matches!(
        with(|k| k.route = Ok(Route {
            kind: RouteKind::Local,
            ..direct(1)
        })),
        Unreachable::Local(_)
    ));
    assert!(matches!(
        with(|k| k.route = Ok(Route {
            source: None,
            ..direct(1)
        })),
        Unreachable::NoSource { .. }
    ));
    assert!(matches!(
        with(|k| k.neighbour = NeighbourIs::Silent),
        Unreachable::Silent { .. }
    ));
}

#[test]
fn a_route_that_moves_is_followed_at_the_next_look() {
    let (mut kernel, mut resolver) = host(direct(1), NeighbourIs::Learnt(MAC));
    let start = Instant::now();
    watch(&mut resolver, &mut kernel, "10.0.1.11", start);
    assert!(news(&mut resolver).unwrap().is_ok());
    kernel.route = Ok(direct(2));
    resolver.look(&mut kernel, start);
    assert!(matches!(
        news(&mut resolver),
        Some(Err(Unreachable::NotServed { .. }))
    ));
    kernel.route = Ok(direct(1));
    resolver.tick(&mut kernel, start + LOOK);
    assert!(news(&mut resolver).unwrap().is_ok(), "looked by itself");
}
