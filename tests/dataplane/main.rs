//! The data plane against the real kernel: a client, a balancer and two servers
//! in network namespaces. They need root and the kernel program; `cargo xtask
//! test` runs them.
//!
//! - [`lab`]: who takes part, and what the data plane is told of them.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on says where it stands"
)]

mod lab;

use std::{
    io::Write,
    net::TcpStream,
    time::{Duration, Instant},
};

use aya::maps::{ArrayOfMaps, Map, MapData};

use self::lab::{
    Agent, BACKENDS, Lab, PATIENCE, accept, assert_reset, members, out_of_service, talk, view,
    wait_until,
};
use lb_userspace::{
    dataplane::{
        Change, Dataplane, DataplaneError, Event, ListenerView, Ties,
        bpf::{LoadError, SchemaError, StartError},
    },
    model::{Hook, ListenerKey, Mode, Protocol},
};

/// A flow to the first server, both ends of it.
fn flow(lab: &Lab, listener: &std::net::TcpListener) -> (TcpStream, TcpStream) {
    let mut client = lab.connect().unwrap();
    let mut server = accept(listener);
    talk(&mut client, &mut server);
    (client, server)
}

/// A data plane with the first backend in service only.
fn first_in_service(lab: &Lab, mode: Mode) -> (Agent, lb_userspace::dataplane::View) {
    let mut agent = lab.start(&lab.config()).unwrap();
    let mut view = view(mode);
    view.tables.insert(1, members(&BACKENDS[..1]));
    agent.kernel.reconcile(&view).unwrap();
    agent.hear_next_hops(&BACKENDS);
    (agent, view)
}

fn active(agent: &mut Agent, backend: u16) -> u64 {
    agent.kernel.counters().unwrap().backends[&backend].active()
}

fn disown(agent: &mut Agent, backend: u16, epoch: u32) -> u64 {
    agent
        .kernel
        .apply(&[Change::Disown { backend, epoch }])
        .unwrap();
    agent.hear(|event| match event {
        Event::Closed {
            backend: b,
            epoch: e,
            flows,
        } if (*b, *e) == (backend, epoch) => Some(*flows),
        _ => None,
    })
}

#[test]
#[ignore = "needs root and the kernel program"]
fn a_flow_is_forwarded_counted_and_shown() {
    for mode in [Mode::Nat, Mode::Dsr] {
        let lab = Lab::new();
        let listener = lab.listen(0);
        let (mut agent, _) = first_in_service(&lab, mode);
        let (client, server) = flow(&lab, &listener);
        assert_eq!(active(&mut agent, BACKENDS[0]), 1, "{mode:?}");
        let records = agent.kernel.flows(1, Some(BACKENDS[0]), 10).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!(records[0].client, {
            let address = client.local_addr().unwrap();
            (address.ip(), address.port())
        });
        assert_eq!(records[0].state, "established");
        assert!(
            agent
                .kernel
                .flows(1, Some(BACKENDS[1]), 10)
                .unwrap()
                .is_empty()
        );
        drop((client, server));
        wait_until("the flow has ended", || {
            active(&mut agent, BACKENDS[0]) == 0
        });
        assert_eq!(agent.kernel.ties(BACKENDS[0]).unwrap(), Ties::default());
        assert_eq!(agent.kernel.attachments()[0].hook, Hook::Xdp);
        assert!(agent.kernel.warnings().is_empty());
    }
}

#[test]
#[ignore = "needs root and the kernel program"]
fn p4_disowned_flows_are_reset_at_both_ends_idle_ones_too() {
    for mode in [Mode::Nat, Mode::Dsr] {
        let lab = Lab::new();
        let listener = lab.listen(0);
        let (mut agent, view) = first_in_service(&lab, mode);
        let mut ends: Vec<_> = (0..3).map(|_| flow(&lab, &listener)).collect();
        agent
            .kernel
            .apply(&out_of_service(&view, BACKENDS[0]))
            .unwrap();
        let began = Instant::now();
        assert_eq!(disown(&mut agent, BACKENDS[0], 2), 3, "{mode:?}");
        assert!(began.elapsed() < Duration::from_millis(500));
        for (client, server) in &mut ends {
            assert_reset(client, "client");
            assert_reset(server, "server");
        }
        assert_eq!(active(&mut agent, BACKENDS[0]), 0);
        // The index is free soon: nothing lingers of flows that were cut.
        agent
            .kernel
            .apply(&[Change::RemoveBackend(BACKENDS[0])])
            .unwrap();
        agent.hear(|event| (*event == Event::Forgotten(BACKENDS[0])).then_some(()));
    }
}

#[test]
#[ignore = "needs root and the kernel program"]
fn p1_no_new_flow_after_the_change_is_acknowledged() {
    let lab = Lab::new();
    let listeners = [lab.listen(0), lab.listen(1)];
    let mut agent = lab.start(&lab.config()).unwrap();
    let view = view(Mode::Nat);
    agent.kernel.reconcile(&view).unwrap();
    agent.hear_next_hops(&BACKENDS);
    agent
        .kernel
        .apply(&out_of_service(&view, BACKENDS[0]))
        .unwrap();
    for _ in 0..50 {
        let _client = lab.connect().unwrap();
        let _server = accept(&listeners[1]);
    }
    assert!(listeners[0].accept().is_err(), "nothing came here");
}

#[test]
#[ignore = "needs root and the kernel program"]
fn p2_a_restart_keeps_flows_and_takes_the_program_over() {
    let lab = Lab::new();
    let listener = lab.listen(0);
    let (agent, view) = first_in_service(&lab, Mode::Nat);
    let (mut client, mut server) = flow(&lab, &listener);
    drop(agent);
    talk(&mut client, &mut server);
    let mut agent = lab.start(&lab.config()).unwrap();
    talk(&mut client, &mut server);
    agent.kernel.reconcile(&view).unwrap();
    talk(&mut client, &mut server);
    // The next hop is known from before, so that nothing waits for it.
    let (_client, _server) = flow(&lab, &listener);
    assert_eq!(active(&mut agent, BACKENDS[0]), 2);
}

#[test]
#[ignore = "needs root and the kernel program"]
fn a_backend_that_is_gone_after_a_restart_has_its_flows_cut_and_is_forgotten() {
    let lab = Lab::new();
    let listener = lab.listen(0);
    let (agent, mut view) = first_in_service(&lab, Mode::Nat);
    let (mut client, mut server) = flow(&lab, &listener);
    drop(agent);
    let mut agent = lab.start(&lab.config()).unwrap();
    view.backends.remove(&BACKENDS[0]);
    view.tables.insert(1, members(&BACKENDS[1..]));
    agent.kernel.reconcile(&view).unwrap();
    agent.hear(|event| (*event == Event::Forgotten(BACKENDS[0])).then_some(()));
    assert_reset(&mut client, "client");
    assert_reset(&mut server, "server");
}

#[test]
#[ignore = "needs root and the kernel program"]
fn an_index_that_is_another_backend_after_a_restart_does_not_inherit_flows() {
    let lab = Lab::new();
    let listener = lab.listen(0);
    let (agent, mut view) = first_in_service(&lab, Mode::Nat);
    let (mut client, mut server) = flow(&lab, &listener);
    drop(agent);
    let mut agent = lab.start(&lab.config()).unwrap();
    let row = view.backends.get_mut(&BACKENDS[0]).unwrap();
    row.address = lab::ip("10.0.0.99");
    agent.kernel.reconcile(&view).unwrap();
    assert_reset(&mut client, "client");
    assert_reset(&mut server, "server");
    assert_eq!(active(&mut agent, BACKENDS[0]), 0);
}

#[test]
#[ignore = "needs root and the kernel program"]
fn an_idle_flow_is_reset_at_both_ends_after_its_timeout() {
    let lab = Lab::new();
    let listener = lab.listen(0);
    let (mut agent, view) = first_in_service(&lab, Mode::Nat);
    let mut lb = view.lbs[&1].clone();
    lb.idle_timeout = Duration::from_secs(2);
    agent.kernel.apply(&[Change::PutLb(lb)]).unwrap();
    let (mut idle_client, mut idle_server) = flow(&lab, &listener);
    let (mut busy_client, mut busy_server) = flow(&lab, &listener);
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(4) {
        talk(&mut busy_client, &mut busy_server);
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_reset(&mut idle_client, "client");
    assert_reset(&mut idle_server, "server");
    talk(&mut busy_client, &mut busy_server);
    assert_eq!(active(&mut agent, BACKENDS[0]), 1);
}

#[test]
#[ignore = "needs root and the kernel program"]
fn closes_are_paced_where_the_load_balancer_says_so() {
    let lab = Lab::new();
    let listener = lab.listen(0);
    let (mut agent, view) = first_in_service(&lab, Mode::Nat);
    let mut lb = view.lbs[&1].clone();
    lb.close_rate = 10;
    agent.kernel.apply(&[Change::PutLb(lb)]).unwrap();
    let mut ends: Vec<_> = (0..11).map(|_| flow(&lab, &listener)).collect();
    agent
        .kernel
        .apply(&out_of_service(&view, BACKENDS[0]))
        .unwrap();
    let began = Instant::now();
    assert_eq!(disown(&mut agent, BACKENDS[0], 2), 11);
    let took = began.elapsed();
    assert!(
        (Duration::from_millis(950)..Duration::from_millis(2000)).contains(&took),
        "{took:?}"
    );
    for (client, server) in &mut ends {
        assert_reset(client, "client");
        assert_reset(server, "server");
    }
    // The same again is answered at once: there is nothing left.
    assert_eq!(disown(&mut agent, BACKENDS[0], 2), 0);
}

#[test]
#[ignore = "needs root and the kernel program"]
fn p3_a_dsr_drain_sees_its_last_flow_end_within_a_second() {
    let lab = Lab::new();
    let listener = lab.listen(0);
    let (mut agent, view) = first_in_service(&lab, Mode::Dsr);
    let (client, mut server) = flow(&lab, &listener);
    agent
        .kernel
        .apply(&out_of_service(&view, BACKENDS[0]))
        .unwrap();
    assert_eq!(agent.kernel.ties(BACKENDS[0]).unwrap().flows, 1);
    // The client is done; the server sends what it has and closes much later,
    // so that the client's last acknowledgement says nothing of the end.
    client.shutdown(std::net::Shutdown::Write).unwrap();
    server.write_all(b"the rest").unwrap();
    let began = Instant::now();
    wait_until("the drain sees no flow", || {
        agent.kernel.ties(BACKENDS[0]).unwrap() == Ties::default()
    });
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    drop((client, server));
}

#[test]
#[ignore = "needs root and the kernel program"]
fn pinned_maps_of_other_sizes_are_refused_with_what_differs() {
    let lab = Lab::new();
    drop(lab.start(&lab.config()).unwrap());
    let mut config = lab.config();
    config.tables.flows *= 2;
    match lab.start(&config) {
        Err(StartError::Load(LoadError::Schema(error @ SchemaError::Differs { .. }))) => {
            let text = error.to_string();
            assert!(
                text.contains("FLOWS_V4 has max_entries 4096 (expected 8192)"),
                "{text}"
            );
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
    drop(lab.start(&lab.config()).unwrap());
}

#[test]
#[ignore = "needs root and the kernel program"]
fn p2_a_restart_with_room_for_other_listeners_keeps_flows() {
    let lab = Lab::new();
    let server = lab.listen(0);
    let with = |listeners| {
        let mut config = lab.config();
        config.tables.listeners = listeners;
        config
    };
    let mut agent = lab.start(&with(4)).unwrap();
    let mut view = view(Mode::Nat);
    view.tables.insert(1, members(&BACKENDS[..1]));
    agent.kernel.reconcile(&view).unwrap();
    agent.hear_next_hops(&BACKENDS);
    let (mut client, mut server_end) = flow(&lab, &server);
    // A listener that is removed, but that this flow came by.
    let (mut old_client, mut old_server) = flow(&lab, &server);
    let many: Vec<_> = (0..40).map(|n| Change::PutListener(listener(n))).collect();
    let full = agent.kernel.check(&many).unwrap_err();
    assert!(
        matches!(full, DataplaneError::Full(full) if full.limit == 4),
        "{full}"
    );
    drop(agent);
    talk(&mut client, &mut server_end);

    // What an agent left that died over it.
    let pins = lab.config().bpffs_dir;
    let pins = pins.join(format!("schema-{}", lb_common::abi::SCHEMA));
    let left = MapData::from_pin(pins.join("VIPS_V4")).unwrap();
    left.pin(pins.join("LISTENERS_V4_copy")).unwrap();
    let mut agent = lab.start(&with(64)).unwrap();
    // By what was copied, before the agent has written anything.
    talk(&mut client, &mut server_end);
    let (_new_client, _new_server) = flow(&lab, &server);
    agent.kernel.reconcile(&view).unwrap();
    agent.kernel.check(&many).unwrap();
    agent.kernel.apply(&many).unwrap();
    let (key, _) = view.listeners.pop_first().unwrap();
    agent.kernel.apply(&[Change::RemoveListener(key)]).unwrap();
    talk(&mut client, &mut server_end);
    assert_eq!(active(&mut agent, BACKENDS[0]), 3);
    drop(agent);

    // Not so low that something would have to go; the program that is there goes on.
    match lab.start(&with(4)) {
        Err(StartError::Load(LoadError::Resize(error))) => {
            let text = error.to_string();
            assert!(text.contains("more is in it than"), "{text}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
    talk(&mut client, &mut server_end);
    talk(&mut old_client, &mut old_server);
    // Lower, and as low as it can be, with a listener that was removed in it.
    let mut agent = lab.start(&with(41)).unwrap();
    view.listeners
        .extend((0..40).map(listener).map(|it| (it.key, it)));
    agent.kernel.reconcile(&view).unwrap();
    talk(&mut client, &mut server_end);
    talk(&mut old_client, &mut old_server);
    assert_eq!(active(&mut agent, BACKENDS[0]), 3);
}

#[test]
#[ignore = "needs root and the kernel program"]
fn an_interface_that_is_not_there_is_a_warning_and_served_when_it_comes() {
    let mut lab = Lab::new();
    let listener = lab.listen(0);
    lab.unplug();
    let mut agent = lab.start(&lab.config()).unwrap();
    let mut view = view(Mode::Nat);
    view.tables.insert(1, members(&BACKENDS[..1]));
    agent.kernel.reconcile(&view).unwrap();
    let warnings = agent.kernel.warnings();
    assert!(
        warnings.iter().any(|text| text.contains("c0 is missing")),
        "{warnings:?}"
    );
    lab.plug();
    agent.hear_next_hops(&BACKENDS);
    wait_until("the warning to go", || agent.kernel.warnings().is_empty());
    drop(flow(&lab, &listener));
}

#[test]
#[ignore = "needs root and the kernel program"]
fn an_interface_that_is_not_free_is_refused() {
    let lab = Lab::new();
    let other = Lab::new();
    let _first = lab.start(&lab.config()).unwrap();
    // Another ebb, with pins of its own, finds the interface taken.
    let mut config = lab.config();
    config.bpffs_dir = other.config().bpffs_dir;
    let error = lab.start(&config).err().unwrap().to_string();
    assert!(error.contains("another XDP program"), "{error}");
}

#[test]
#[ignore = "needs root and the kernel program"]
fn an_interface_that_comes_back_is_served_again() {
    let mut lab = Lab::new();
    let listener = lab.listen(0);
    let (mut agent, _) = first_in_service(&lab, Mode::Nat);
    drop(flow(&lab, &listener));
    lab.unplug();
    agent.hear(|event| {
        matches!(
            event,
            Event::NextHop {
                next_hop: Err(_),
                ..
            }
        )
        .then_some(())
    });
    lab.plug();
    agent.hear_next_hops(&BACKENDS);
    // The client still sends to the old MAC address until it asks again.
    lab.site
        .client
        .run("ip", &["neigh", "flush", "all"])
        .unwrap();
    drop(flow(&lab, &listener));
    assert_eq!(agent.kernel.attachments()[0].hook, Hook::Xdp);
    wait_until("both flows have ended", || {
        active(&mut agent, BACKENDS[0]) == 0
    });
}

#[test]
#[ignore = "needs root and the kernel program"]
fn a_backend_that_does_not_answer_is_told_with_the_reason() {
    let lab = Lab::new();
    let mut agent = lab.start(&lab.config()).unwrap();
    let mut view = view(Mode::Nat);
    view.backends.get_mut(&BACKENDS[0]).unwrap().address = lab::ip("10.0.0.77");
    view.backends.get_mut(&BACKENDS[1]).unwrap().address = lab::ip("192.0.2.1");
    agent.kernel.reconcile(&view).unwrap();
    let reason = |backend| {
        agent.hear(|event| match event {
            Event::NextHop {
                backend: b,
                next_hop: Err(reason),
            } if *b == backend => Some(reason.clone()),
            _ => None,
        })
    };
    let no_route = reason(BACKENDS[1]);
    assert!(no_route.contains("no route to 192.0.2.1"), "{no_route}");
    let silent = reason(BACKENDS[0]);
    assert!(
        silent.contains("10.0.0.77 does not answer on c0"),
        "{silent}"
    );
    // A client learns at once that there is nobody.
    let began = Instant::now();
    let error = lab.connect().expect_err("refused");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(began.elapsed() < PATIENCE / 2);
}

#[test]
#[ignore = "needs root and the kernel program"]
fn a_listener_that_is_removed_keeps_its_flows() {
    let lab = Lab::new();
    let listener = lab.listen(0);
    let (mut agent, view) = first_in_service(&lab, Mode::Nat);
    let (mut client, mut server) = flow(&lab, &listener);
    let (key, _) = view.listeners.first_key_value().unwrap();
    agent.kernel.apply(&[Change::RemoveListener(*key)]).unwrap();
    talk(&mut client, &mut server);
    std::thread::sleep(Duration::from_secs(3));
    talk(&mut client, &mut server);
    // Nobody listens at the VIP now, not even the host.
    assert!(lab.connect().is_err());
    agent
        .kernel
        .apply(&[Change::PutListener(view.listeners[key].clone())])
        .unwrap();
    drop(flow(&lab, &listener));
    talk(&mut client, &mut server);
}

#[test]
#[ignore = "needs root and the kernel program"]
fn the_program_is_accepted_with_its_log_on() {
    let lab = Lab::new();
    let mut config = lab.config();
    config.log = true;
    let mut agent = lab.start(&config).unwrap();
    let listener = lab.listen(0);
    let mut view = view(Mode::Nat);
    view.tables.insert(1, members(&BACKENDS[..1]));
    agent.kernel.reconcile(&view).unwrap();
    agent.hear_next_hops(&BACKENDS);
    let (_client, _server) = flow(&lab, &listener);
    assert_eq!(active(&mut agent, BACKENDS[0]), 1);
}

/// A listener of the load balancer of [`view`], on an address of its own.
fn listener(n: u16) -> ListenerView {
    let [high, low] = n.to_be_bytes();
    let key = ListenerKey {
        protocol: Protocol::Tcp,
        address: [10, 9, high, low].into(),
        port: 80,
    };
    ListenerView {
        key,
        lb: 1,
        backend_port: 80,
    }
}

#[test]
#[ignore = "needs root and the kernel program"]
fn every_listener_that_is_promised_may_have_an_address_of_its_own() {
    let lab = Lab::new();
    let config = lab.config();
    let mut agent = lab.start(&config).unwrap();
    let mut view = view(Mode::Nat);
    view.listeners.clear();
    for n in 0..u16::try_from(config.tables.listeners).unwrap() {
        let listener = listener(n);
        view.listeners.insert(listener.key, listener);
    }
    agent.kernel.reconcile(&view).unwrap();
    // All of them replaced at once, while flows may name the old ones.
    let replaced: Vec<_> = view
        .listeners
        .keys()
        .map(|key| Change::RemoveListener(*key))
        .chain((0..4096).map(|n| Change::PutListener(listener(n + 4096))))
        .collect();
    agent.kernel.check(&replaced).unwrap();
    agent.kernel.apply(&replaced).unwrap();
    // More than that are too many, and nothing is written of them.
    let more: Vec<_> = (0..4096)
        .map(|n| Change::PutListener(listener(n + 8192)))
        .collect();
    let error = agent.kernel.check(&more).unwrap_err();
    assert!(
        matches!(error, DataplaneError::Full(full) if full.limit == 4096),
        "{error}"
    );
}

/// The kernel's number of the Maglev table of the load balancer of [`view`].
fn table(lab: &Lab) -> u32 {
    let pins = lab.config().bpffs_dir;
    let pin = pins.join(format!("schema-{}/TABLES", lb_common::abi::SCHEMA));
    let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let tables: ArrayOfMaps<_> = map.try_into().unwrap();
    tables.get(&1, 0).unwrap().info().unwrap().id()
}

#[test]
#[ignore = "needs root and the kernel program"]
fn a_restart_builds_no_table_that_is_there() {
    let lab = Lab::new();
    let mut agent = lab.start(&lab.config()).unwrap();
    let mut view = view(Mode::Nat);
    agent.kernel.reconcile(&view).unwrap();
    // Only who can be reached is in it.
    agent.hear_next_hops(&BACKENDS);
    let before = table(&lab);
    drop(agent);

    let mut agent = lab.start(&lab.config()).unwrap();
    agent.kernel.reconcile(&view).unwrap();
    assert_eq!(table(&lab), before, "it is what it was");
    // With nothing swapped, there is still a table to wait by.
    agent
        .kernel
        .apply(&[Change::RemoveBackend(BACKENDS[0])])
        .unwrap();
    drop(agent);

    let mut agent = lab.start(&lab.config()).unwrap();
    view.tables.insert(1, members(&BACKENDS[1..]));
    agent.kernel.reconcile(&view).unwrap();
    assert_ne!(table(&lab), before, "other members, another table");
}
