//! Guesses at the secret that requests to the Query API are signed with.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::{
    rig::{Door, Rig},
    signed,
};

/// What a request that is signed with this secret is answered.
fn sign(rig: &Rig, secret: &str) -> String {
    let request = signed::request(&rig.elb.to_string(), secret);
    rig.answer(rig.connect(Door::Elb), &request)
}

fn assert_answered(rig: &Rig) {
    let answer = sign(rig, "secret");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn wrong_signatures_do_not_hold_the_right_one_up() {
    let rig = Rig::with_keys();
    thread::scope(|scope| {
        let wrong: Vec<_> = (0..60)
            .map(|_| scope.spawn(|| sign(&rig, "guess")))
            .collect();
        let begun = Instant::now();
        assert_answered(&rig);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        for wrong in wrong {
            let answer = wrong.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        }
    });
}

#[test]
fn who_guesses_signatures_on_is_told_to_stop() {
    let rig = Rig::with_keys();
    let begun = Instant::now();
    let answers: Vec<_> = (0..200).map(|_| sign(&rig, "guess")).collect();
    let told = |status: &str| {
        let begin = format!("HTTP/1.1 {status} ");
        answers
            .iter()
            .filter(|answer| answer.starts_with(&begin))
            .count()
    };
    let (wrong, refused) = (told("403"), told("503"));
    assert_eq!(wrong + refused, answers.len(), "{answers:?}");
    let allowed = 101 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!(wrong <= allowed, "{wrong} guesses were looked at");
    // And is not told whether one was right, but once a second.
    let is_blind = (0..5).any(|_| {
        sign(&rig, "guess");
        sign(&rig, "secret").starts_with("HTTP/1.1 503 ")
    });
    assert!(is_blind);
    let last = answers.last().unwrap();
    assert!(last.contains("too many wrong signatures"), "{last}");
    let lines = rig.lines_with("a signature was wrong");
    assert!(lines <= wrong / 10, "{lines} lines for {wrong} guesses");
}

#[test]
fn right_signatures_are_as_many_as_one_likes() {
    let rig = Rig::with_keys();
    for _ in 0..200 {
        assert_answered(&rig);
    }
}

#[test]
fn a_local_user_who_guesses_takes_no_try_from_another() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let rig = Rig::with_keys();
    let request = signed::request(&rig.elb.to_string(), "guess");
    let guess = || rig.answer(rig.connect_as_nobody(Door::Elb), &request);
    let refused = (0..150).filter(|_| guess().starts_with("HTTP/1.1 503 "));
    let refused = refused.count();
    assert!(refused > 20, "only {refused} of 150 guesses were too many");
    assert_answered(&rig);
}
