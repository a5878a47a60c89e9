//! P7: what was acknowledged survives, and what fell due meanwhile is done.

use std::time::Duration;

use lb_userspace::wire::{DrainOutcome, HealthByHand};

use crate::rig::{LB, Rig};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn p7_states_attributes_and_drains_survive_a_restart() {
    let mut rig = Rig::three();
    rig.draining(true, Some(60)).unwrap();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister("web-1").unwrap();
    rig.health("web-2", HealthByHand::Unhealthy).unwrap();
    rig.deregister("web-3").unwrap();
    rig.wait(10 * SECOND);
    let before = rig.control.state().clone();
    rig.restart(None);
    assert_eq!(*rig.control.state(), before);
    assert!(rig.is_open(flow));
    assert_eq!(rig.backend("web-1").drain.unwrap().seconds_left, 50);
    assert_eq!(rig.backend("web-2").health, "unhealthy");
    assert_eq!(rig.backend("web-3").registration, "gone");
    let lb = rig.lb(LB).unwrap();
    assert_eq!(lb.attributes.connection_draining.timeout, 60);
}

#[test]
fn p7_a_deadline_that_passed_while_the_agent_was_down_is_enforced_on_return() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister_within("web-1", 5).unwrap();
    rig.sleep(3600 * SECOND);
    assert!(rig.is_open(flow), "the kernel goes on");
    rig.restart(None);
    assert!(!rig.is_open(flow));
    let outcome = rig.backend("web-1").drain.unwrap().outcome;
    assert_eq!(outcome, Some(DrainOutcome::Cut { flows: 1 }));
}

#[test]
fn p7_a_drain_that_ended_while_the_agent_was_down_is_over_on_return() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister("web-1").unwrap();
    rig.world.end(flow);
    rig.restart(None);
    let backend = rig.backend("web-1");
    assert_eq!(backend.registration, "gone");
    assert_eq!(backend.drain.unwrap().outcome, Some(DrainOutcome::Ended));
}

#[test]
fn p7_a_forced_close_goes_on_after_a_restart() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.world.hold_closes();
    rig.deregister_now("web-1").unwrap();
    rig.restart(None);
    assert_eq!(rig.backend("web-1").registration, "closing");
    rig.world.finish_closes();
    rig.control.step();
    assert!(!rig.is_open(flow));
    assert_eq!(rig.backend("web-1").registration, "gone");
}

#[test]
fn p7_epochs_never_go_down() {
    let mut rig = Rig::three();
    let highest = |rig: &Rig| {
        let view = rig.world.view();
        view.backends.values().map(|b| b.epoch).max().unwrap()
    };
    let mut last = highest(&rig);
    for _ in 0..5 {
        rig.connect_until("web-1", 1);
        rig.deregister_now("web-1").unwrap();
        rig.restart(None);
        rig.register("web-1", "10.0.1.1").unwrap();
        assert!(highest(&rig) > last);
        last = highest(&rig);
    }
}
