//! Full tables: what does not fit is refused through every door, before
//! anything is written, as the fault of who asked, in words that name the
//! setting; what fits, fits to the last; and a restart with more room has it.

use lb_userspace::{
    control::{Error, Kind},
    model::{Counted, Full, TableSizes},
    wire::Apply,
};

use crate::rig::{LB, Rig, VIP, declare, key, new_lb};

/// Room for few of everything.
fn small() -> TableSizes {
    TableSizes {
        load_balancers: 2,
        backends: 4,
        listeners: 3,
        ..TableSizes::default()
    }
}

fn vip(n: usize) -> String {
    format!("10.9.{}.{}", n / 256, n % 256)
}

/// As a file declares it: so many load balancers, each with so many listeners
/// and backends.
fn document(lbs: usize, listeners: usize, backends: usize) -> String {
    let list = |count, one: &dyn Fn(usize) -> String| {
        let all: Vec<_> = (0..count).map(one).collect();
        all.join(", ")
    };
    (0..lbs)
        .map(|lb| {
            let listeners = list(listeners, &|n| {
                let port = 80 + n;
                format!(
                    "{{ protocol = \"tcp\", address = \"{}\", port = {port} }}",
                    vip(lb)
                )
            });
            let backends = list(backends, &|n| format!("{{ address = \"10.8.{lb}.{n}\" }}"));
            format!(
                "[[load_balancer]]\nname = \"lb-{lb}\"\nmode = \"nat\"\n\
                 listeners = [{listeners}]\nbackends = [{backends}]\n"
            )
        })
        .collect()
}

/// It was refused because of `what`, as the fault of who asked, and nothing was
/// written.
fn assert_full<T: std::fmt::Debug>(
    rig: &Rig,
    before: usize,
    done: Result<T, Error>,
    what: Counted,
) {
    let error = done.expect_err("there is no room for it");
    assert!(
        matches!(error, Error::Full(Full { what: full, .. }) if full == what),
        "{error:?}"
    );
    assert_eq!(error.kind(), Kind::Conflict);
    let said = format!("{}; {}", error.message(), error.hint().unwrap_or_default());
    assert!(said.contains(&format!("[tables] {}", what.key())), "{said}");
    assert!(said.contains("restart"), "{said}");
    assert_eq!(rig.world.log().len(), before, "nothing was written");
}

#[test]
fn as_many_load_balancers_fit_as_are_promised_and_no_more() {
    let mut rig = Rig::empty();
    for n in 0..1024 {
        rig.create(new_lb(&format!("lb-{n}"), &vip(n), &[]))
            .unwrap_or_else(|error| panic!("number {}: {error}", n + 1));
    }
    let before = rig.world.log().len();
    let one_more = rig.create(new_lb("lb-1024", &vip(1024), &[]));
    assert_full(&rig, before, one_more, Counted::LoadBalancers);
    assert_eq!(rig.control.state().load_balancers().count(), 1024);
    assert_eq!(rig.addresses.list().len(), 1024);
    // One that goes makes room.
    rig.delete("lb-7", crate::rig::now()).unwrap();
    rig.create(new_lb("lb-1024", &vip(1024), &[])).unwrap();
}

#[test]
fn a_full_table_refuses_a_request() {
    let mut rig = Rig::sized(small(), None);
    let backends = [("a", "10.8.0.1"), ("b", "10.8.0.2"), ("c", "10.8.0.3")];
    rig.create(new_lb(LB, VIP, &backends)).unwrap();
    rig.register("d", "10.8.0.4").unwrap();
    let before = rig.world.log().len();

    let one_more = rig.register("e", "10.8.0.5");
    assert_full(&rig, before, one_more, Counted::Backends);
    let with_backend = rig.create(new_lb("other", "10.0.0.1", &[("a", "10.8.1.1")]));
    assert_full(&rig, before, with_backend, Counted::Backends);

    let handle = rig.handle.clone();
    let listeners = |ports: std::ops::Range<u16>| {
        let one = |port| serde_json::json!({ "protocol": "tcp", "address": VIP, "port": port });
        serde_json::from_value(ports.map(one).collect()).unwrap()
    };
    let too_many = rig.ask(handle.add_listeners(LB, listeners(81..84)));
    assert_full(&rig, before, too_many, Counted::Listeners);
    rig.ask(handle.add_listeners(LB, listeners(81..83)))
        .unwrap();
    let before = rig.world.log().len();
    let one_more = rig.ask(handle.add_listeners(LB, listeners(83..84)));
    assert_full(&rig, before, one_more, Counted::Listeners);
    let with_listener = rig.create(new_lb("other", "10.0.0.1", &[]));
    assert_full(&rig, before, with_listener, Counted::Listeners);
    assert!(rig.world.view().listeners.contains_key(&key(VIP, 82)));
}

#[test]
fn a_full_table_refuses_a_document() {
    for (text, what) in [
        (document(3, 1, 0), Counted::LoadBalancers),
        (document(2, 2, 0), Counted::Listeners),
        (document(1, 1, 5), Counted::Backends),
    ] {
        let mut rig = Rig::sized(small(), None);
        let handle = rig.handle.clone();
        for dry_run in [true, false] {
            let apply = Apply {
                document: text.clone(),
                source: None,
                dry_run,
            };
            let applied = rig.ask(handle.apply(apply));
            assert_full(&rig, 0, applied, what);
        }
        // What SIGHUP reads.
        let reloaded = rig.ask(handle.reload("ebb.toml", declare(&text).document));
        assert_full(&rig, 0, reloaded, what);
        assert!(rig.control.state().desired.load_balancers.is_empty());
        assert!(rig.addresses.list().is_empty());
        // What is read at start.
        let started = rig.try_restart(Some(&text));
        assert_full(&rig, 0, started, what);
        assert!(rig.addresses.list().is_empty());
        rig.restart(None);
        assert!(rig.control.state().desired.load_balancers.is_empty());
    }
}

#[test]
fn a_restart_with_more_room_has_it_and_one_with_too_little_says_how_much_it_takes() {
    let mut rig = Rig::sized(small(), Some(&document(2, 1, 2)));
    let before = rig.world.log().len();
    let one_more = rig.create(new_lb(LB, VIP, &[]));
    assert_full(&rig, before, one_more, Counted::LoadBalancers);

    rig.world.resize(TableSizes {
        load_balancers: 3,
        ..small()
    });
    rig.restart(None);
    rig.create(new_lb(LB, VIP, &[])).unwrap();

    // The first goes; the others keep their places, up to the third.
    rig.delete("lb-0", crate::rig::now()).unwrap();
    rig.world.resize(small());
    let error = rig.try_restart(None).expect_err("place 3 is taken");
    assert_eq!(
        error.message(),
        "there is room for 2 load balancers, not for 3: [tables] load_balancers says so"
    );
    rig.world.resize(TableSizes::default());
    rig.restart(None);
    assert_eq!(rig.control.state().load_balancers().count(), 2);
}

#[test]
fn the_room_is_told() {
    let mut rig = Rig::sized(small(), Some(&document(1, 2, 3)));
    let handle = rig.handle.clone();
    let room = rig.ask(handle.room()).unwrap();
    let told = room.map(|room| (room.what, room.used, room.limit));
    assert_eq!(
        told,
        [
            (Counted::LoadBalancers, 1, 2),
            (Counted::Backends, 3, 4),
            (Counted::Listeners, 2, 3),
        ]
    );
    let status = rig.ask(handle.status()).unwrap();
    let tables: Vec<_> = status
        .tables
        .iter()
        .map(|table| (table.name.as_str(), table.used, table.limit))
        .collect();
    assert_eq!(
        tables,
        [
            ("load_balancers", 1, 2),
            ("backends", 3, 4),
            ("listeners", 2, 3)
        ]
    );
}

#[test]
fn a_start_that_fails_leaves_no_address_and_no_state_behind() {
    let mut rig = Rig::empty();
    rig.addresses.put("10.9.0.1", "eth0");
    rig.addresses.refuse(Some("10.9.0.2"));
    let started = rig.try_restart(Some(&document(4, 1, 1)));
    assert!(matches!(started, Err(Error::Vip(_))), "{started:?}");
    let left: Vec<_> = rig.addresses.list().into_keys().collect();
    assert_eq!(
        left,
        ["10.9.0.1".parse::<std::net::IpAddr>().unwrap()],
        "the host's own, and no other"
    );
    rig.addresses.refuse(None);
    rig.restart(None);
    assert!(rig.control.state().desired.load_balancers.is_empty());
}
