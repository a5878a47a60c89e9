//! A test for each promise, and for each rule of a backend's life.

use std::time::Duration;

use lb_common::maglev;
use lb_userspace::{
    dataplane::{Change, memory::NoFlow},
    wire::{DrainOutcome, HealthByHand, State, What},
};

use crate::rig::{LB, Rig, key, listener, new_lb, now};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn p1_no_new_flow_after_the_answer() {
    let mut rig = Rig::three();
    let old = rig.connect_until("web-1", 1)[0];
    let index = rig.index("web-1");
    let answer = rig.deregister_within("web-1", 10).unwrap();
    assert_eq!(answer.state, State::InService);
    assert_eq!(
        answer.description,
        "Instance deregistration currently in progress."
    );
    assert!(!answer.takes_new);
    for _ in 0..500 {
        let flow = rig.connect().unwrap();
        assert_ne!(rig.world.backend_of(flow), Some(index));
    }
    assert!(rig.is_open(old));
}

#[test]
fn p1_the_table_is_built_and_the_flag_falls_before_the_answer() {
    let mut rig = Rig::three();
    rig.connect_until("web-1", 1);
    let index = rig.index("web-1");
    let before = rig.world.log().len();
    rig.deregister("web-1").unwrap();
    let log = rig.world.log().split_off(before);
    // In this order there is a taker for every new flow in between.
    assert!(matches!(log[0], Change::PutTable(..)), "{log:?}");
    let Change::PutBackend(second) = &log[1] else {
        panic!("{log:?}");
    };
    assert_eq!((second.index, second.takes_new), (index, false));
}

#[test]
fn p1_an_unhealthy_backend_gets_no_new_flow() {
    let mut rig = Rig::three();
    let index = rig.index("web-2");
    let answer = rig.health("web-2", HealthByHand::Unhealthy).unwrap();
    assert_eq!(answer.state, State::OutOfService);
    assert!(answer.health_by_hand);
    for _ in 0..500 {
        let flow = rig.connect().unwrap();
        assert_ne!(rig.world.backend_of(flow), Some(index));
    }
    let answer = rig.health("web-2", HealthByHand::Auto).unwrap();
    assert!(answer.takes_new);
    rig.connect_until("web-2", 1);
}

#[test]
fn with_no_backend_in_service_clients_learn_at_once() {
    let mut rig = Rig::three();
    for id in ["web-1", "web-2", "web-3"] {
        rig.deregister(id).unwrap();
    }
    assert_eq!(rig.connect(), Err(NoFlow::NoBackend));
}

#[test]
fn p2_changes_of_the_set_leave_flows_alone() {
    let mut rig = Rig::three();
    let flows: Vec<_> = (0..30).map(|_| rig.connect().unwrap()).collect();
    let homes: Vec<_> = flows.iter().map(|f| rig.world.backend_of(*f)).collect();
    rig.register("web-4", "10.0.1.4").unwrap();
    rig.deregister("web-4").unwrap();
    rig.health("web-1", HealthByHand::Unhealthy).unwrap();
    rig.deregister_within("web-2", 60).unwrap();
    rig.draining(true, Some(1)).unwrap();
    rig.create(new_lb("other", "10.0.0.101", &[("a", "10.0.2.1")]))
        .unwrap();
    rig.delete("other", now()).unwrap();
    rig.restart(None);
    rig.wait(30 * SECOND);
    let now: Vec<_> = flows.iter().map(|f| rig.world.backend_of(*f)).collect();
    assert_eq!(now, homes);
}

#[test]
fn p2_a_drain_moves_slots_of_its_own_backend_only_and_they_come_back_with_it() {
    let mut rig = Rig::three();
    for n in 4..=20 {
        rig.register(&format!("web-{n}"), &format!("10.0.1.{n}"))
            .unwrap();
    }
    rig.connect_until("web-7", 1);
    let leaving = rig.index("web-7");
    let before = slots(&rig);
    rig.deregister("web-7").unwrap();
    let moved = before.iter().zip(slots(&rig));
    let moved: Vec<_> = moved.filter(|(then, now)| *then != now).collect();
    assert!(!moved.is_empty());
    assert!(
        moved
            .iter()
            .all(|(then, now)| **then == leaving && *now != leaving),
        "{moved:?}"
    );
    rig.register("web-7", "10.0.1.7").unwrap();
    assert_eq!(slots(&rig), before);
}

/// The Maglev table that the kernel is given.
fn slots(rig: &Rig) -> Vec<u16> {
    let mut members = rig.world.view().tables[&0].clone();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    let mut owners = vec![maglev::NO_BACKEND; 65_537];
    let mut permutations: Vec<_> = members
        .iter()
        .map(|m| maglev::Member::new(m.backend, m.id.as_bytes(), m.weight, owners.len()))
        .collect();
    maglev::populate(&mut permutations, &mut owners);
    let mut table = owners.clone();
    let in_service = |backend| members.iter().any(|m| m.backend == backend && m.in_service);
    maglev::refill(&owners, in_service, &mut table);
    table
}

#[test]
fn p3_a_drain_without_flows_is_over_with_the_answer() {
    let mut rig = Rig::three();
    let answer = rig.deregister("web-1").unwrap();
    assert_eq!(answer.registration, "gone");
    assert_eq!(
        answer.description,
        "Instance is not currently registered with the LoadBalancer."
    );
    assert_eq!(answer.drain.unwrap().outcome, Some(DrainOutcome::Ended));
}

#[test]
fn p3_a_drain_is_over_within_a_second_of_its_last_flow() {
    let mut rig = Rig::three();
    let flows = rig.connect_until("web-1", 2);
    rig.deregister("web-1").unwrap();
    rig.wait(20 * SECOND);
    let drain = rig.backend("web-1").drain.unwrap();
    assert_eq!((drain.flows_at_start, drain.flows_left), (2, 2));
    assert_eq!(drain.seconds_left, 280);
    rig.world.end(flows[0]);
    rig.wait(20 * SECOND);
    assert_eq!(rig.backend("web-1").drain.unwrap().flows_left, 1);
    rig.world.end(flows[1]);
    rig.wait(SECOND / 2);
    let backend = rig.backend("web-1");
    assert_eq!(backend.registration, "gone");
    assert_eq!(backend.drain.unwrap().outcome, Some(DrainOutcome::Ended));
}

#[test]
fn p3_a_handshake_under_way_is_waited_for() {
    let mut rig = Rig::three();
    let index = rig.index("web-1");
    rig.world.set_handshakes(index, 1);
    assert_eq!(rig.deregister("web-1").unwrap().registration, "draining");
    rig.world.set_handshakes(index, 0);
    rig.wait(SECOND / 2);
    assert_eq!(rig.backend("web-1").registration, "gone");
}

#[test]
fn p4_the_deadline_cuts_what_is_left_and_says_how_many() {
    let mut rig = Rig::three();
    let flows = rig.connect_until("web-1", 3);
    rig.deregister_within("web-1", 3).unwrap();
    rig.wait(Duration::from_millis(2900));
    assert!(flows.iter().all(|flow| rig.is_open(*flow)));
    rig.wait(Duration::from_millis(200));
    assert!(flows.iter().all(|flow| !rig.is_open(*flow)));
    let backend = rig.backend("web-1");
    assert_eq!(backend.registration, "gone");
    let outcome = backend.drain.unwrap().outcome;
    assert_eq!(outcome, Some(DrainOutcome::Cut { flows: 3 }));
}

#[test]
fn p4_a_paced_close_is_seen_as_draining_until_it_is_done() {
    let mut rig = Rig::three();
    rig.connect_until("web-1", 3);
    rig.world.hold_closes();
    let answer = rig.deregister_now("web-1").unwrap();
    assert_eq!(answer.registration, "closing");
    assert_eq!(answer.state, State::InService);
    rig.wait(10 * SECOND);
    assert_eq!(rig.backend("web-1").registration, "closing");
    rig.world.finish_closes();
    rig.control.step();
    let backend = rig.backend("web-1");
    assert_eq!(backend.registration, "gone");
    let outcome = backend.drain.unwrap().outcome;
    assert_eq!(outcome, Some(DrainOutcome::Cut { flows: 3 }));
}

#[test]
fn p5_ill_health_sets_no_deadline_but_deregistration_then_does() {
    let mut rig = Rig::three();
    rig.draining(true, Some(5)).unwrap();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.health("web-1", HealthByHand::Unhealthy).unwrap();
    rig.wait(600 * SECOND);
    assert!(rig.is_open(flow));
    rig.deregister("web-1").unwrap();
    rig.wait(4 * SECOND);
    assert!(rig.is_open(flow));
    rig.wait(2 * SECOND);
    assert!(!rig.is_open(flow));
}

#[test]
fn p5_with_draining_disabled_both_close_at_once() {
    let mut rig = Rig::three();
    rig.draining(false, None).unwrap();
    let flow = rig.connect_until("web-1", 1)[0];
    let answer = rig.health("web-1", HealthByHand::Unhealthy).unwrap();
    assert!(!rig.is_open(flow));
    assert_eq!(answer.registration, "registered");

    let flow = rig.connect_until("web-2", 1)[0];
    let answer = rig.deregister("web-2").unwrap();
    assert!(!rig.is_open(flow));
    assert_eq!(answer.registration, "gone");
    let outcome = answer.drain.unwrap().outcome;
    assert_eq!(outcome, Some(DrainOutcome::Cut { flows: 1 }));
}

#[test]
fn registering_again_cancels_the_drain() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.deregister_within("web-1", 5).unwrap();
    rig.wait(SECOND);
    let answer = rig.register("web-1", "10.0.1.1").unwrap();
    assert!(answer.takes_new);
    assert_eq!(answer.drain.unwrap().outcome, Some(DrainOutcome::Cancelled));
    rig.wait(10 * SECOND);
    assert!(rig.is_open(flow), "nothing is cut at the old deadline");
    rig.connect_until("web-1", 1);
}

#[test]
fn registering_again_during_a_forced_close_begins_anew() {
    let mut rig = Rig::three();
    let old = rig.connect_until("web-1", 1)[0];
    rig.world.hold_closes();
    rig.deregister_now("web-1").unwrap();
    rig.register("web-1", "10.0.1.1").unwrap();
    let new = rig.connect_until("web-1", 1)[0];
    rig.world.finish_closes();
    rig.control.step();
    assert!(!rig.is_open(old));
    assert!(rig.is_open(new));
    assert_eq!(rig.backend("web-1").registration, "registered");
}

#[test]
fn a_drain_keeps_the_timeout_it_began_with() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.draining(true, Some(10)).unwrap();
    rig.deregister("web-1").unwrap();
    rig.draining(true, Some(1)).unwrap();
    rig.deregister("web-1").unwrap();
    rig.draining(false, None).unwrap();
    rig.deregister("web-1").unwrap();
    rig.wait(9 * SECOND);
    assert!(rig.is_open(flow));
    rig.wait(2 * SECOND);
    assert!(!rig.is_open(flow));
}

#[test]
fn a_backend_that_is_gone_can_be_described_for_an_hour() {
    let mut rig = Rig::three();
    rig.deregister("web-1").unwrap();
    assert_eq!(rig.lb(LB).unwrap().backends.len(), 2);
    rig.wait(3599 * SECOND);
    assert_eq!(rig.backend("web-1").registration, "gone");
    rig.wait(2 * SECOND);
    let handle = rig.handle.clone();
    let error = rig.ask(handle.backend(LB, "web-1")).unwrap_err();
    assert_eq!(error.code(), "no_such_backend");
    assert_eq!(error.hint().unwrap(), "did you mean \"web-2\"?");
}

#[test]
fn a_deleted_load_balancer_drains() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    let deleted = rig.delete(LB, Default::default()).unwrap();
    assert!(!deleted.gone);
    assert_eq!(rig.connect(), Err(NoFlow::NoListener));
    assert!(rig.is_open(flow));
    let error = rig.register("web-9", "10.0.1.9").unwrap_err();
    assert_eq!(error.code(), "being_deleted");
    assert_eq!(rig.world.view().lbs.len(), 1);
    for (flow, _) in rig.world.flows() {
        rig.world.end(flow);
    }
    rig.wait(SECOND);
    let error = rig.lb(LB).unwrap_err();
    assert_eq!(error.code(), "no_such_load_balancer");
    assert_eq!(rig.world.view(), Default::default());
}

#[test]
fn a_load_balancer_created_again_while_it_drains_keeps_its_flows() {
    let mut rig = Rig::three();
    let flow = rig.connect_until("web-1", 1)[0];
    rig.delete(LB, Default::default()).unwrap();
    rig.create(new_lb(LB, "10.0.0.100", &[("web-1", "10.0.1.1")]))
        .unwrap();
    rig.wait(400 * SECOND);
    assert!(rig.is_open(flow));
    assert!(rig.connect().is_ok());
}

#[test]
fn an_index_is_not_used_again_before_it_is_forgotten() {
    let mut rig = Rig::three();
    let index = rig.index("web-1");
    rig.world.hold_forgotten();
    rig.deregister("web-1").unwrap();
    rig.register("web-4", "10.0.1.4").unwrap();
    assert_ne!(rig.index("web-4"), index);
    // The data plane does not know any more that it owes an answer.
    rig.restart(None);
    rig.register("web-5", "10.0.1.5").unwrap();
    assert_ne!(rig.index("web-5"), index);
    rig.world.forget();
    rig.control.step();
    rig.register("web-6", "10.0.1.6").unwrap();
    assert_eq!(rig.index("web-6"), index);
}

#[test]
fn a_listener_belongs_to_one_load_balancer() {
    let mut rig = Rig::three();
    let error = rig.create(new_lb("other", "10.0.0.100", &[])).unwrap_err();
    assert_eq!(error.code(), "duplicate_listener");
    assert_eq!(rig.world.view().lbs.len(), 1);
    let error = rig.create(new_lb("other", "10.0.1.1", &[])).unwrap_err();
    assert_eq!(error.code(), "backend_is_vip");
    let error = rig.register("web-4", "10.0.0.100").unwrap_err();
    assert_eq!(error.code(), "backend_is_vip");
    let error = rig.register("web-1", "10.0.1.99").unwrap_err();
    assert_eq!(error.code(), "other_address");
    let error = rig.deregister_within("web-1", 3601).unwrap_err();
    assert!(error.message().contains("1 to 3600"), "{}", error.message());
    let error = rig.draining(true, Some(0)).unwrap_err();
    assert_eq!(error.code(), "bad_timeout");
}

#[test]
fn listeners_come_and_go_without_touching_flows() {
    let mut rig = Rig::three();
    let flow = rig.connect().unwrap();
    let handle = rig.handle.clone();
    let listeners = serde_json::from_str(
        r#"[{"protocol": "tcp", "address": "10.0.0.100", "port": 443, "backend_port": 8443}]"#,
    )
    .unwrap();
    rig.ask(handle.add_listeners(LB, listeners)).unwrap();
    assert!(rig.connect_to(key("10.0.0.100", 443)).is_ok());
    let gone = vec![(listener().protocol, listener().address, listener().port)];
    rig.ask(handle.remove_listeners(LB, gone)).unwrap();
    assert_eq!(rig.connect(), Err(NoFlow::NoListener));
    assert!(rig.is_open(flow));
}

#[test]
fn what_happens_is_said_in_order() {
    let mut rig = Rig::three();
    rig.connect_until("web-1", 2);
    rig.happened();
    rig.deregister_within("web-1", 7).unwrap();
    rig.wait(8 * SECOND);
    rig.register("web-1", "10.0.1.1").unwrap();
    rig.health("web-1", HealthByHand::Unhealthy).unwrap();
    let said: Vec<What> = rig
        .happened()
        .into_iter()
        .filter(|(id, _)| id.as_deref() == Some("web-1"))
        .map(|(_, what)| what)
        .filter(|what| !matches!(what, What::NextHopKnown { .. }))
        .collect();
    let cut = DrainOutcome::Cut { flows: 2 };
    assert_eq!(
        said,
        [
            What::DrainStarted { timeout: 7, flows: 2 },
            What::DrainProgress {
                flows_left: 2,
                seconds_left: 2
            },
            What::DrainCutting { flows: 2 },
            What::DrainEnded { outcome: cut },
            What::Deregistered,
            What::Registered,
            What::InService,
            What::OutOfService {
                reason: "Instance has failed at least the UnhealthyThreshold number of health checks consecutively.".to_owned()
            },
        ]
    );
}
