//! A full disk, a kernel that refuses, a backend out of reach: refused with a
//! reason, and what was in force stays.

use std::time::Duration;

use lb_userspace::{dataplane::memory::NoFlow, wire::HealthByHand};

use crate::rig::{LB, Rig, new_lb};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_full_disk_refuses_the_change_and_nothing_has_changed() {
    let mut rig = Rig::three();
    let (state, view) = (rig.control.state().clone(), rig.world.view());
    rig.store.set_full(true);
    let error = rig.deregister("web-1").unwrap_err();
    assert_eq!(error.code(), "store_failed");
    assert!(error.hint().unwrap().contains("free some space"));
    rig.create(new_lb("other", "10.0.0.101", &[])).unwrap_err();
    rig.draining(false, None).unwrap_err();
    assert_eq!(*rig.control.state(), state);
    assert_eq!(rig.world.view(), view);
    assert_eq!(rig.addresses.list().len(), 1);

    rig.store.set_full(false);
    rig.wait(2 * SECOND);
    rig.restart(None);
    assert_eq!(*rig.control.state(), state);
    rig.deregister("web-1").unwrap();
}

#[test]
fn a_full_disk_holds_no_deadline_up() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister_within("web-1", 5).unwrap();
    rig.store.set_full(true);
    rig.wait(6 * SECOND);
    assert!(!rig.is_open(flow));
    assert_eq!(rig.backend("web-1").registration, "gone");
    let handle = rig.handle.clone();
    let status = rig.ask(handle.status()).unwrap();
    assert!(status.warnings[0].contains("cannot write"), "{status:?}");
    rig.store.set_full(false);
    rig.wait(2 * SECOND);
    let status = rig.ask(handle.status()).unwrap();
    assert!(status.warnings.is_empty(), "{status:?}");
    rig.restart(None);
    assert_eq!(rig.backend("web-1").registration, "gone");
}

#[test]
fn a_clock_that_jumps_moves_no_deadline() {
    const DAY: i64 = 86_400_000;
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister_within("web-1", 60).unwrap();
    for off in [DAY, -DAY] {
        rig.set_clock(off);
        rig.wait(20 * SECOND);
        assert!(rig.is_open(flow), "set off by {off} ms");
        // Nor does it for an agent that starts with the wrong clock.
        rig.restart(None);
        let left = rig.backend("web-1").drain.unwrap().seconds_left;
        assert!((19..=41).contains(&left), "{left}");
    }
    rig.wait(21 * SECOND);
    assert!(!rig.is_open(flow), "the deadline was 60 s after the start");
    assert_eq!(rig.backend("web-1").registration, "gone");
}

#[test]
fn an_agent_comes_up_on_a_full_disk_if_nothing_is_new() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister_within("web-1", 5).unwrap();
    rig.store.set_full(true);
    rig.sleep(6 * SECOND);
    rig.restart(None);
    assert!(!rig.is_open(flow));
    rig.store.set_full(false);
    rig.wait(2 * SECOND);
    rig.restart(None);
    assert_eq!(rig.backend("web-1").registration, "gone");
}

#[test]
fn a_kernel_that_refuses_gets_the_old_state_back() {
    for change in 0..5 {
        let mut rig = Rig::three();
        let flow = rig.connect_until("web-1", 1)[0];
        let (state, view) = (rig.control.state().clone(), rig.world.view());
        rig.world.fail_after(change);
        let lb = new_lb(
            "other",
            "10.0.0.101",
            &[("a", "10.0.2.1"), ("b", "10.0.2.2")],
        );
        let error = rig.create(lb.clone()).unwrap_err();
        assert_eq!(error.code(), "kernel_refused", "{change}");
        assert_eq!(*rig.control.state(), state);
        assert_eq!(rig.world.view(), view);
        assert_eq!(rig.addresses.list().len(), 1);
        assert!(rig.is_open(flow));
        rig.restart(None);
        assert_eq!(*rig.control.state(), state);
        rig.create(lb).unwrap();
    }
}

#[test]
fn a_crash_between_the_disk_and_the_kernel_loses_nothing() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    // The change is stored, the kernel refuses the second half of it, and the
    // agent dies before it can take it back.
    rig.world.fail_after(1);
    rig.store.fail_after(1);
    rig.deregister_within("web-1", 60).unwrap_err();
    rig.store.set_full(false);
    rig.restart(None);
    // Not acknowledged, so either will do; but kernel and state agree.
    let took = rig.backend("web-1").takes_new;
    let index = rig.index("web-1");
    assert_eq!(rig.world.view().backends[&index].takes_new, took);
    assert!(rig.is_open(flow));
}

#[test]
fn a_backend_out_of_reach_is_shown_as_such_and_gets_no_flows() {
    let mut rig = Rig::three();
    let index = rig.index("web-1");
    let flow = rig.connect_until("web-1", 1)[0];
    rig.world
        .unreach("10.0.1.1".parse().unwrap(), "no answer from 10.0.1.1");
    rig.control.step();
    let backend = rig.backend("web-1");
    assert!(!backend.takes_new);
    assert_eq!(
        backend.next_hop_error.as_deref(),
        Some("no answer from 10.0.1.1")
    );
    for _ in 0..100 {
        let flow = rig.connect().unwrap();
        assert_ne!(rig.world.backend_of(flow), Some(index));
    }
    assert!(rig.is_open(flow));
    let handle = rig.handle.clone();
    let status = rig.ask(handle.status()).unwrap();
    assert!(status.warnings[0].contains("web/web-1 is not reachable"));

    rig.world.reach("10.0.1.1".parse().unwrap());
    rig.control.step();
    assert!(rig.backend("web-1").takes_new);
    rig.connect_until("web-1", 1);
}

#[test]
fn with_no_backend_in_reach_nobody_gets_a_flow() {
    let mut rig = Rig::three();
    for last in 1..=3 {
        rig.world.unreach([10, 0, 1, last].into(), "no answer");
    }
    rig.control.step();
    assert_eq!(rig.connect(), Err(NoFlow::NoBackend));
}

#[test]
fn a_refusal_names_what_is_wrong_and_the_nearest_name() {
    let mut rig = Rig::three();
    let error = rig.health("wbe-1", HealthByHand::Healthy).unwrap_err();
    assert_eq!(error.code(), "no_such_backend");
    assert_eq!(error.hint().unwrap(), "did you mean \"web-1\"?");
    let error = rig.lb("wbe").unwrap_err();
    assert_eq!(error.hint().unwrap(), format!("did you mean {LB:?}?"));
}
