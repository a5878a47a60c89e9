//! Whose turn it is: those who only look wait for those who change something, and
//! are not forgotten.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
};

use lb_userspace::wire::HealthByHand;

use crate::rig::{LB, Rig};

/// Asks, or looks for the answer.
fn poll<T>(question: &mut Pin<Box<dyn Future<Output = T> + '_>>) -> Option<T> {
    let mut context = Context::from_waker(Waker::noop());
    match question.as_mut().poll(&mut context) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[test]
fn a_deregistration_waits_for_none_of_those_who_only_look() {
    let mut rig = Rig::three();
    let handle = rig.handle.clone();
    let mut looks: Vec<_> = (0..200)
        .map(|_| Box::pin(handle.load_balancers()) as Pin<Box<dyn Future<Output = _> + '_>>)
        .collect();
    for look in &mut looks {
        assert!(poll(look).is_none());
    }
    let mut deregister: Pin<Box<dyn Future<Output = _> + '_>> =
        Box::pin(handle.deregister(LB, "web-1", Default::default()));
    assert!(poll(&mut deregister).is_none());
    rig.control.step();
    poll(&mut deregister).expect("an answer").unwrap();
    let answered = looks.iter_mut().filter_map(poll).count();
    assert!(answered <= 1, "{answered} went before it");
    for _ in 0..looks.len() {
        rig.control.step();
    }
}

#[test]
fn whoever_only_looks_has_a_turn_however_many_changes_there_are() {
    let mut rig = Rig::three();
    let handle = rig.handle.clone();
    let mut look: Pin<Box<dyn Future<Output = _> + '_>> = Box::pin(handle.load_balancers());
    assert!(poll(&mut look).is_none());
    for round in 0..10 {
        let mut changes: Vec<_> = (0..64)
            .map(|n| {
                let health = [HealthByHand::Unhealthy, HealthByHand::Auto][n % 2];
                let change = handle.set_health(LB, "web-1", health);
                Box::pin(change) as Pin<Box<dyn Future<Output = _> + '_>>
            })
            .collect();
        for change in &mut changes {
            assert!(poll(change).is_none());
        }
        rig.control.step();
        if let Some(answer) = poll(&mut look) {
            answer.unwrap();
            assert!(round > 0, "changes go first");
            return;
        }
    }
    panic!("no turn in ten rounds of 64 changes");
}
