use proptest::prelude::*;

use super::*;
use crate::model::DrainOutcome;

const START: Moment = Moment(1_000_000);
const NO_TIES: Ties = Ties {
    flows: 0,
    handshakes: 0,
};

fn ties(flows: u64) -> Ties {
    Ties {
        flows,
        handshakes: 0,
    }
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn timeout(n: i64) -> DrainTimeout {
    DrainTimeout::try_from(n).unwrap()
}

fn registered() -> (Life, Epochs) {
    let mut epochs = Epochs::default();
    (Life::begin(false, &mut epochs), epochs)
}

fn draining(attribute: i64) -> (Life, Epochs) {
    let (mut life, mut epochs) = registered();
    life.deregister(START, Leave::ByAttributes, Some(timeout(attribute)));
    life.poll(START, ties(3), &mut epochs);
    (life, epochs)
}

#[test]
fn the_table_of_states() {
    let (mut life, mut epochs) = registered();
    assert_eq!(life.described(), IN_SERVICE);
    assert!(life.takes_new());

    life.check(Some(Health::Unknown), true, &mut epochs);
    assert_eq!(life.described(), REGISTERING);
    assert!(!life.takes_new());

    life.check(Some(Health::Unhealthy), true, &mut epochs);
    assert_eq!(life.described(), UNHEALTHY);
    assert!(!life.takes_new());

    for health in [Health::Unknown, Health::Healthy, Health::Unhealthy] {
        let (mut life, mut epochs) = draining(300);
        life.check(Some(health), true, &mut epochs);
        assert_eq!(life.described(), DRAINING);
        assert!(!life.takes_new());
    }

    let (mut life, mut epochs) = draining(300);
    life.poll(START, NO_TIES, &mut epochs);
    assert_eq!(life.described(), NOT_REGISTERED);
    assert!(!life.takes_new());
}

#[test]
fn the_strings_are_those_of_the_classic_elb() {
    for row in [REGISTERING, UNHEALTHY, RECOVERING, DRAINING, NOT_REGISTERED] {
        assert!(row.description.ends_with('.'), "{row:?}");
    }
    assert_eq!(
        (DRAINING.state, DRAINING.reason_code, DRAINING.description),
        (
            State::InService,
            "N/A",
            "Instance deregistration currently in progress."
        )
    );
    assert_eq!(
        (NOT_REGISTERED.state, NOT_REGISTERED.reason_code),
        (State::OutOfService, "Instance")
    );
}

#[test]
fn p3_a_drain_with_no_flows_is_over_at_once() {
    let (mut life, mut epochs) = registered();
    life.deregister(START, Leave::ByAttributes, Some(timeout(300)));
    assert_eq!(life.poll(START, NO_TIES, &mut epochs).step, Step::Gone);
    assert_eq!(life.drain().unwrap().outcome, Some(DrainOutcome::Ended));
}

#[test]
fn p3_a_handshake_under_way_holds_a_drain_up() {
    let (mut life, mut epochs) = registered();
    life.deregister(START, Leave::ByAttributes, Some(timeout(300)));
    let handshake = Ties {
        flows: 0,
        handshakes: 1,
    };
    life.poll(START, handshake, &mut epochs);
    assert!(life.is_draining());
}

#[test]
fn p4_the_deadline_closes_what_is_left() {
    let (mut life, mut epochs) = draining(10);
    let epoch = life.epoch();
    let just_before = Moment((START + seconds(10)).0 - 1);
    assert_eq!(
        life.poll(just_before, ties(2), &mut epochs).step,
        Step::None
    );
    assert_eq!(
        life.poll(START + seconds(10), ties(2), &mut epochs).step,
        Step::Cutting { flows: 2 }
    );
    assert!(life.epoch() > epoch);
    assert_eq!(life.described(), DRAINING);
    assert_eq!(
        life.closed(START + seconds(11), life.epoch(), 2),
        Step::Gone
    );
    assert_eq!(
        life.drain().unwrap().outcome,
        Some(DrainOutcome::Cut { flows: 2 })
    );
}

#[test]
fn p5_ill_health_keeps_flows_and_sets_no_deadline() {
    let (mut life, mut epochs) = registered();
    let epoch = life.epoch();
    let step = life.set_by_hand(Some(Health::Unhealthy), true, &mut epochs);
    assert_eq!(step, Step::HealthChanged);
    assert_eq!(
        life.poll(START + seconds(9999), ties(1), &mut epochs).step,
        Step::None
    );
    assert_eq!((life.epoch(), life.drain()), (epoch, None));
}

#[test]
fn p5_ill_health_with_draining_disabled_closes_flows_at_once() {
    let (mut life, mut epochs) = registered();
    let epoch = life.epoch();
    let step = life.set_by_hand(Some(Health::Unhealthy), false, &mut epochs);
    assert_eq!(step, Step::Disowned);
    assert!(life.epoch() > epoch);
    assert!(life.is_registered());
    // Said again, there is nothing more to close.
    let epoch = life.epoch();
    life.check(Some(Health::Unhealthy), false, &mut epochs);
    assert_eq!(life.epoch(), epoch);
    assert_eq!(life.closed(START, epoch, 7), Step::Cut { flows: 7 });
    assert!(life.is_registered());
}

#[test]
fn p5_deregistration_with_draining_disabled_closes_flows_at_once() {
    let (mut life, mut epochs) = registered();
    life.deregister(START, Leave::ByAttributes, None);
    assert_eq!(
        life.poll(START, ties(4), &mut epochs).step,
        Step::Cutting { flows: 4 }
    );
}

#[test]
fn registering_again_cancels_the_drain_and_keeps_the_flows() {
    let (mut life, mut epochs) = draining(10);
    life.check(Some(Health::Unhealthy), true, &mut epochs);
    let epoch = life.epoch();
    assert_eq!(life.register(false, &mut epochs), Step::Cancelled);
    assert_eq!(life.described(), UNHEALTHY, "health is what it was");
    assert_eq!(
        life.poll(START + seconds(11), ties(3), &mut epochs).step,
        Step::None
    );
    assert_eq!(life.epoch(), epoch);
    assert_eq!(life.drain().unwrap().outcome, Some(DrainOutcome::Cancelled));
}

#[test]
fn deregistering_again_changes_nothing() {
    let (mut life, _) = draining(10);
    let before = life.clone();
    for attribute in [None, Some(timeout(1)), Some(timeout(3600))] {
        let step = life.deregister(START + seconds(5), Leave::ByAttributes, attribute);
        assert_eq!(step, Step::None);
    }
    assert_eq!(life, before);
}

#[test]
fn a_new_timeout_counts_from_when_the_drain_began() {
    let (mut life, mut epochs) = draining(10);
    let how = Leave::Within(timeout(60));
    assert_eq!(
        life.deregister(START + seconds(5), how, Some(timeout(10))),
        Step::DeadlineMoved { timeout: 60 }
    );
    assert_eq!(life.drain().unwrap().deadline(), START + seconds(60));
    life.deregister(START + seconds(30), Leave::Within(timeout(20)), None);
    assert_eq!(
        life.poll(START + seconds(30), ties(1), &mut epochs).step,
        Step::Cutting { flows: 1 }
    );
}

#[test]
fn now_cuts_a_drain_that_runs() {
    let (mut life, mut epochs) = draining(300);
    life.deregister(START + seconds(5), Leave::Now, Some(timeout(300)));
    assert_eq!(
        life.poll(START + seconds(5), ties(1), &mut epochs).step,
        Step::Cutting { flows: 1 }
    );
}

#[test]
fn a_backend_that_is_gone_is_remembered_for_an_hour() {
    let (mut life, mut epochs) = draining(300);
    life.poll(START, NO_TIES, &mut epochs);
    assert!(!life.forgettable(START + seconds(3599)));
    assert!(life.forgettable(START + seconds(3600)));
    let epoch = life.epoch();
    assert_eq!(life.register(false, &mut epochs), Step::Registered);
    assert!(life.epoch() > epoch);
    assert_eq!(life.drain(), None);
}

/// What may befall a backend, in any order.
#[derive(Debug, Clone)]
enum Happening {
    Register,
    Deregister(Option<i64>),
    DeregisterNow,
    Check(Option<Health>),
    ByHand(Option<Health>),
    Attribute(Option<i64>),
    Wait(u64),
    FlowsOpen(u64),
    FlowsEnd(u64),
    Handshakes(u64),
    CloseDone,
    Poll,
}

fn health() -> impl Strategy<Value = Option<Health>> {
    prop_oneof![
        Just(None),
        Just(Some(Health::Unknown)),
        Just(Some(Health::Healthy)),
        Just(Some(Health::Unhealthy)),
    ]
}

fn happening() -> impl Strategy<Value = Happening> {
    let time = || 1_i64..30;
    prop_oneof![
        Just(Happening::Register),
        proptest::option::of(time()).prop_map(Happening::Deregister),
        Just(Happening::DeregisterNow),
        health().prop_map(Happening::Check),
        health().prop_map(Happening::ByHand),
        proptest::option::of(time()).prop_map(Happening::Attribute),
        (1_u64..20_000).prop_map(Happening::Wait),
        (1_u64..5).prop_map(Happening::FlowsOpen),
        (1_u64..5).prop_map(Happening::FlowsEnd),
        (0_u64..2).prop_map(Happening::Handshakes),
        Just(Happening::CloseDone),
        Just(Happening::Poll),
    ]
}

/// The packet path, as far as one backend is concerned.
#[derive(Debug, Default)]
struct World {
    /// Flows of the epoch in force.
    flows: u64,
    handshakes: u64,
    /// Flows of epochs before, that are being closed.
    disowned: u64,
    epoch: Epoch,
}

impl World {
    fn follow(&mut self, life: &Life) {
        if life.epoch() != self.epoch {
            self.epoch = life.epoch();
            self.disowned += self.flows;
            self.flows = 0;
            self.handshakes = 0;
        }
    }

    fn ties(&self) -> Ties {
        Ties {
            flows: self.flows,
            handshakes: self.handshakes,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_hold(happenings in prop::collection::vec(happening(), 1..80)) {
        let (mut life, mut epochs) = registered();
        let mut world = World { epoch: life.epoch(), ..World::default() };
        let mut now = START;
        let mut attribute = Some(timeout(10));

        for happening in happenings {
            let before = life.clone();
            let flows_before = world.ties();
            match happening.clone() {
                Happening::Register => { life.register(false, &mut epochs); }
                Happening::Deregister(time) => {
                    let how = time.map_or(Leave::ByAttributes, |n| Leave::Within(timeout(n)));
                    life.deregister(now, how, attribute);
                }
                Happening::DeregisterNow => { life.deregister(now, Leave::Now, attribute); }
                // The control task asks no check of a backend that is gone.
                Happening::Check(health) if !life.is_gone() => {
                    life.check(health, attribute.is_some(), &mut epochs);
                }
                Happening::ByHand(health) if !life.is_gone() => {
                    life.set_by_hand(health, attribute.is_some(), &mut epochs);
                }
                Happening::Check(_) | Happening::ByHand(_) => {}
                Happening::Attribute(time) => attribute = time.map(timeout),
                Happening::Wait(millis) => now = now + Duration::from_millis(millis),
                Happening::FlowsOpen(n) if life.takes_new() => world.flows += n,
                Happening::FlowsOpen(_) => {}
                Happening::FlowsEnd(n) => world.flows -= n.min(world.flows),
                Happening::Handshakes(n) if life.takes_new() => world.handshakes = n,
                Happening::Handshakes(_) => world.handshakes = 0,
                Happening::CloseDone => if let Some(epoch) = life.closing() {
                    life.closed(now, epoch, std::mem::take(&mut world.disowned));
                }
                Happening::Poll => { life.poll(now, world.ties(), &mut epochs); }
            }

            // New flows: only while registered and healthy.
            prop_assert_eq!(
                life.takes_new(),
                life.is_registered() && life.health() == Health::Healthy
            );
            prop_assert_eq!(life.takes_new(), life.described() == IN_SERVICE);

            // P2, P4, P5: flows are disowned at a deadline, or by ill
            // health with draining disabled, and by nothing else.
            if life.epoch() != before.epoch() {
                prop_assert!(life.epoch() > before.epoch(), "epochs only go up");
                let deadline = matches!(happening, Happening::Poll)
                    && before.is_draining()
                    && now >= before.drain().unwrap().deadline();
                let ill = before.is_registered()
                    && before.health() != Health::Unhealthy
                    && life.health() == Health::Unhealthy
                    && attribute.is_none();
                let anew = before.is_gone() && life.is_registered();
                prop_assert!(deadline || ill || anew, "{:?}", happening);
                prop_assert_eq!(life.closing().is_some(), deadline || ill);
            }

            // A deadline moves only when a command says so.
            if before.is_draining() && life.is_draining() {
                let (old, new) = (before.drain().unwrap(), life.drain().unwrap());
                prop_assert_eq!(old.since, new.since);
                let told = matches!(
                    happening,
                    Happening::Deregister(Some(_)) | Happening::DeregisterNow
                );
                prop_assert!(told || old.deadline() == new.deadline());
            }

            // P3 and P4: no look at a drain leaves one behind that is over.
            if matches!(happening, Happening::Poll) && life.is_draining() {
                prop_assert!(now < life.drain().unwrap().deadline());
                prop_assert!(flows_before != NO_TIES || life.closing().is_some());
            }

            // Gone: no flow was left, or what was left has been closed, and
            // the record says how many.
            if life.is_gone() && !before.is_gone() {
                prop_assert_eq!(world.ties().flows, 0);
                prop_assert_eq!(world.disowned, 0);
                prop_assert_eq!(life.closing(), None);
                let drain = life.drain().unwrap();
                prop_assert_eq!(drain.outcome, Some(match drain.cut {
                    0 => DrainOutcome::Ended,
                    flows => DrainOutcome::Cut { flows },
                }));
            }
            prop_assert_eq!(
                life.drain().is_some_and(|drain| drain.outcome.is_none()),
                life.is_draining() || matches!(life.registration(), Registration::Closing(_))
            );

            world.follow(&life);
        }
    }
}
