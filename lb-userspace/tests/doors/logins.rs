//! Guesses at the console's secret.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::rig::Rig;

#[test]
fn wrong_logins_do_not_hold_the_right_one_up() {
    let rig = Rig::start();
    let login = |secret: &str| {
        let body = format!(r#"{{"key":"anna","secret":"{secret}"}}"#);
        rig.post_to_console("/console/login", "", &body)
    };
    thread::scope(|scope| {
        let wrong: Vec<_> = (0..60).map(|_| scope.spawn(|| login("guess"))).collect();
        let begun = Instant::now();
        let answer = login("secret");
        let took = begun.elapsed();
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
        assert!(took < Duration::from_secs(1), "it took {took:?}");
        for wrong in wrong {
            let answer = wrong.join().unwrap();
            assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        }
    });
}

#[test]
fn who_guesses_on_is_told_to_stop() {
    let rig = Rig::start();
    let guess = || {
        let body = r#"{"key":"anna","secret":"guess"}"#;
        rig.post_to_console("/console/login", "", body)
    };
    let refused = (0..150).filter(|_| guess().starts_with("HTTP/1.1 429 "));
    let refused = refused.count();
    assert!(refused > 20, "only {refused} of 150 guesses were too many");
}
