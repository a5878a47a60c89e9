//! Whatever is asked, in whatever order, with crashes and faults in between:
//! the promises hold.

use std::{collections::BTreeMap, time::Duration};

use lb_userspace::{
    dataplane::{View, memory::FlowId},
    model::{BackendIndex, Drain},
    state::State,
    wire::HealthByHand,
};
use proptest::prelude::*;

use crate::rig::{LB, Rig};

#[derive(Debug, Clone)]
enum Step {
    Register(u8),
    Deregister(u8),
    DeregisterWithin(u8, u32),
    DeregisterNow(u8),
    Health(u8, HealthByHand),
    Draining(bool, u32),
    Connect(u8),
    /// The nth open flow ends.
    End(usize),
    Handshakes(u8, u64),
    Wait(u64),
    Crash,
    /// Time passes before another agent comes up.
    Outage(u64),
    /// The next change to the kernel, or the one after, is refused.
    KernelRefuses(usize),
    DiskFull,
    DiskEmpty,
    Unreach(u8),
    Reach(u8),
    HoldCloses,
    FinishCloses,
    HoldForgotten,
    Forget,
}

const BACKENDS: u8 = 3;

fn step() -> impl Strategy<Value = Step> {
    let backend = || 1..=BACKENDS;
    let health = prop_oneof![
        Just(HealthByHand::Healthy),
        Just(HealthByHand::Unhealthy),
        Just(HealthByHand::Auto),
    ];
    prop_oneof![
        3 => backend().prop_map(Step::Register),
        2 => backend().prop_map(Step::Deregister),
        2 => (backend(), 1_u32..20).prop_map(|(id, time)| Step::DeregisterWithin(id, time)),
        1 => backend().prop_map(Step::DeregisterNow),
        2 => (backend(), health).prop_map(|(id, health)| Step::Health(id, health)),
        1 => (any::<bool>(), 1_u32..20).prop_map(|(on, time)| Step::Draining(on, time)),
        4 => (1_u8..6).prop_map(Step::Connect),
        3 => (0_usize..20).prop_map(Step::End),
        1 => (backend(), 0_u64..2).prop_map(|(id, n)| Step::Handshakes(id, n)),
        3 => (1_u64..15_000).prop_map(Step::Wait),
        1 => Just(Step::Crash),
        1 => (1_u64..30_000).prop_map(Step::Outage),
        1 => (0_usize..3).prop_map(Step::KernelRefuses),
        1 => Just(Step::DiskFull),
        2 => Just(Step::DiskEmpty),
        1 => backend().prop_map(Step::Unreach),
        2 => backend().prop_map(Step::Reach),
        1 => Just(Step::HoldCloses),
        2 => Just(Step::FinishCloses),
        1 => Just(Step::HoldForgotten),
        2 => Just(Step::Forget),
    ]
}

fn id(n: u8) -> String {
    format!("web-{n}")
}

fn address(n: u8) -> String {
    format!("10.0.1.{n}")
}

/// Takes the step, and says whether control refused it.
fn take(rig: &mut Rig, step: &Step) -> Result<(), lb_userspace::control::Error> {
    match step {
        Step::Register(n) => rig.register(&id(*n), &address(*n)).map(drop),
        Step::Deregister(n) => rig.deregister(&id(*n)).map(drop),
        Step::DeregisterWithin(n, time) => rig.deregister_within(&id(*n), *time).map(drop),
        Step::DeregisterNow(n) => rig.deregister_now(&id(*n)).map(drop),
        Step::Health(n, health) => rig.health(&id(*n), *health).map(drop),
        Step::Draining(on, time) => rig.draining(*on, Some(*time)),
        Step::Connect(n) => {
            for _ in 0..*n {
                // Refused, when nobody is in service.
                let _ = rig.connect();
            }
            Ok(())
        }
        Step::End(n) => {
            if let Some((flow, _)) = rig.world.flows().get(*n) {
                rig.world.end(*flow);
            }
            Ok(())
        }
        Step::Handshakes(n, many) => {
            if let Ok((_, backend)) = rig.control.state().backend(LB, &id(*n))
                && let Some(index) = backend.index
                && (backend.life.takes_new() || *many == 0)
            {
                rig.world.set_handshakes(index, *many);
            }
            Ok(())
        }
        Step::Wait(millis) => {
            rig.wait(Duration::from_millis(*millis));
            Ok(())
        }
        Step::Crash => {
            // An agent cannot start on a full disk, nor over a kernel that
            // refuses, and says so.
            rig.store.set_full(false);
            rig.world.clear_faults();
            rig.restart(None);
            Ok(())
        }
        Step::Outage(millis) => {
            rig.store.set_full(false);
            rig.world.clear_faults();
            rig.sleep(Duration::from_millis(*millis));
            rig.restart(None);
            Ok(())
        }
        Step::KernelRefuses(good) => {
            rig.world.fail_after(*good);
            Ok(())
        }
        Step::DiskFull => {
            rig.store.set_full(true);
            Ok(())
        }
        Step::DiskEmpty => {
            rig.store.set_full(false);
            Ok(())
        }
        Step::Unreach(n) => {
            rig.world.unreach([10, 0, 1, *n].into(), "no answer");
            Ok(())
        }
        Step::Reach(n) => {
            rig.world.reach([10, 0, 1, *n].into());
            Ok(())
        }
        Step::HoldCloses => {
            rig.world.hold_closes();
            Ok(())
        }
        Step::FinishCloses => {
            rig.world.finish_closes();
            Ok(())
        }
        Step::HoldForgotten => {
            rig.world.hold_forgotten();
            Ok(())
        }
        Step::Forget => {
            rig.world.forget();
            Ok(())
        }
    }
}

/// The running drains, by backend.
fn drains(state: &State) -> BTreeMap<String, Drain> {
    state
        .backends()
        .filter(|(_, _, backend)| backend.life.is_draining())
        .filter_map(|(_, id, backend)| Some((id.to_string(), backend.life.drain()?.clone())))
        .collect()
}

/// Without what need not survive: indices that are free in truth, and what is
/// measured rather than decided.
fn acknowledged(state: &State) -> State {
    let mut state = state.clone();
    for index in std::mem::take(&mut state.node.retired) {
        state.node.retired.insert(index);
        state.node.forget(index);
    }
    state
}

/// The kernel was told what the state says.
fn agrees(state: &State, view: &View) -> Result<(), TestCaseError> {
    let mut known = 0;
    for (_, id, backend) in state.backends() {
        let Some(index) = backend.index else { continue };
        known += 1;
        let Some(there) = view.backends.get(&index) else {
            return Err(TestCaseError::fail(format!("{id} is not in the kernel")));
        };
        prop_assert_eq!(there.epoch, backend.life.epoch());
        prop_assert!(!there.takes_new || backend.life.takes_new(), "{}", id);
        let member = view.tables[&0]
            .iter()
            .find(|member| member.backend == index);
        prop_assert_eq!(member.is_some(), !backend.life.is_gone());
        prop_assert!(member.is_none_or(|member| member.in_service == there.takes_new));
    }
    prop_assert_eq!(view.backends.len(), known);
    Ok(())
}

fn check(rig: &Rig, step: &Step, before: &Before) -> Result<(), TestCaseError> {
    let state = rig.control.state();
    let now = lb_userspace::clock::Clock::now(&rig.clock).moment;
    let view = rig.world.view();
    let flows: BTreeMap<FlowId, BackendIndex> = rig.world.flows().into_iter().collect();

    // P1: the kernel lets new flows to those that are registered and healthy,
    // and to no others; epochs and indices are those of the state. A change
    // that the kernel refused is made good within a second.
    if !rig.world.is_behind() {
        agrees(state, &view)?;
    }

    // P2: no flow moved; one that is gone ended by itself or was to be closed.
    for (flow, home) in &before.flows {
        match flows.get(flow) {
            Some(now) => prop_assert_eq!(now, home, "flow {} moved", flow),
            None => {
                let asked = match step {
                    Step::End(_) => true,
                    Step::DeregisterNow(_) => true,
                    Step::Deregister(_) | Step::Health(..) => !before.draining,
                    _ => false,
                };
                let deadline = before.homes.get(home).is_some_and(|id| {
                    before
                        .drains
                        .get(id)
                        .is_some_and(|drain| now >= drain.deadline())
                });
                let moved = matches!(step, Step::DeregisterWithin(..));
                let closing = before.closing.contains(home);
                prop_assert!(
                    asked || deadline || moved || closing,
                    "flow {} was cut",
                    flow
                );
            }
        }
    }

    // P3, P4: no drain is left that is over, unless the kernel refused just
    // now to end it.
    if let Step::Wait(millis) = step
        && *millis >= 2000
        && rig.world.refusals() == before.refusals
    {
        for (_, id, backend) in state.backends() {
            if let (true, Some(index), Some(drain)) = (
                backend.life.is_draining(),
                backend.index,
                backend.life.drain(),
            ) {
                prop_assert!(now < drain.deadline(), "{} is past its deadline", id);
                let tied = flows.values().any(|home| *home == index);
                let ties = tied || rig.world.handshakes(index) > 0;
                prop_assert!(
                    ties || backend.life.closing().is_some(),
                    "{} has no flows",
                    id
                );
            }
        }
    }

    // A deadline moves only when a command says so.
    for (id, drain) in drains(state) {
        if let Some(was) = before.drains.get(&id)
            && was.since == drain.since
        {
            let told = matches!(step, Step::DeregisterWithin(..) | Step::DeregisterNow(_));
            prop_assert!(told || was.deadline() == drain.deadline());
        }
    }

    // P9, as far as memory keeps books.
    for (index, home) in &view.backends {
        let found = flows.values().filter(|home| *home == index).count() as u64;
        prop_assert_eq!(rig.world.counted(*index), found, "{:?}", home);
    }
    Ok(())
}

/// What the step is compared with.
struct Before {
    flows: BTreeMap<FlowId, BackendIndex>,
    homes: BTreeMap<BackendIndex, String>,
    drains: BTreeMap<String, Drain>,
    closing: Vec<BackendIndex>,
    draining: bool,
    refusals: usize,
    state: State,
}

impl Before {
    fn look(rig: &Rig) -> Self {
        let state = rig.control.state();
        let backends = || {
            state
                .backends()
                .filter_map(|(_, id, backend)| Some((backend.index?, id, backend)))
        };
        Self {
            flows: rig.world.flows().into_iter().collect(),
            homes: backends()
                .map(|(index, id, _)| (index, id.to_string()))
                .collect(),
            drains: drains(state),
            closing: backends()
                .filter(|(_, _, backend)| backend.life.closing().is_some())
                .map(|(index, _, _)| index)
                .collect(),
            draining: state.lb(LB).unwrap().1.attributes.draining,
            refusals: rig.world.refusals(),
            state: state.clone(),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn whatever_is_asked_the_promises_hold(steps in prop::collection::vec(step(), 1..60)) {
        let mut rig = Rig::three();
        // The disk is full now; and something may not be on it yet.
        let (mut full, mut behind) = (false, false);
        for step in &steps {
            let before = Before::look(&rig);
            let answer = take(&mut rig, step);
            // Everything that control was told by now has its effect.
            rig.control.step();
            check(&rig, step, &before)?;

            let after = rig.control.state();
            match step {
                // P7: what was acknowledged is there again. What nobody asked
                // for and a full disk swallowed is found again by looking.
                Step::Crash if !behind => {
                    for (lb, id, was) in before.state.backends() {
                        let is = after.backend(lb.as_str(), id.as_str()).map(|(_, is)| is);
                        let Ok(is) = is else {
                            return Err(TestCaseError::fail(format!("{id} was forgotten")));
                        };
                        prop_assert_eq!(is.life.is_registered(), was.life.is_registered());
                        prop_assert_eq!(is.life.health(), was.life.health());
                        prop_assert_eq!(is.life.takes_new(), was.life.takes_new());
                        prop_assert_eq!(is.weight, was.weight);
                    }
                    prop_assert!(after.node.epochs >= before.state.node.epochs);
                }
                // What was refused has not happened, but for what fell due.
                Step::Register(_) | Step::Health(..) | Step::Draining(..) if answer.is_err() => {
                    prop_assert_eq!(acknowledged(after), acknowledged(&before.state));
                }
                _ => {}
            }
            match step {
                Step::DiskFull => (full, behind) = (true, true),
                Step::DiskEmpty => full = false,
                Step::Crash | Step::Outage(_) => (full, behind) = (false, false),
                Step::Wait(millis) if *millis >= 2000 => behind = full,
                _ => {}
            }
        }

        // In the end, with nothing in the way, everybody can go.
        rig.store.set_full(false);
        rig.world.clear_faults();
        rig.world.finish_closes();
        rig.world.forget();
        rig.wait(Duration::from_secs(2));
        rig.delete(LB, crate::rig::now()).unwrap();
        rig.wait(Duration::from_secs(2));
        prop_assert!(rig.world.flows().is_empty());
        prop_assert_eq!(rig.world.view(), View::default());
        prop_assert!(rig.control.state().desired.load_balancers.is_empty());
        prop_assert!(rig.control.state().node.retired.is_empty());
        prop_assert!(rig.addresses.list().is_empty());
    }
}
