//! Guesses at the console's secret.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::rig::{Door, Rig};

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

#[test]
fn a_local_user_who_guesses_holds_up_no_other_users_login() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let rig = Rig::start();
    let guess = rig.console_post("/console/login", "", r#"{"key":"anna","secret":"guess"}"#);
    let guess = || rig.answer(rig.connect_as_nobody(Door::Console), &guess);
    let refused = (0..150).filter(|_| guess().starts_with("HTTP/1.1 429 "));
    let refused = refused.count();
    assert!(refused > 20, "only {refused} of 150 guesses were too many");
    rig.log_in();
}

#[test]
fn the_live_stream_ends_with_its_session() {
    let rig = Rig::start();
    let (cookie, other) = (rig.log_in(), rig.log_in());
    let mut watched = rig.watch(&cookie);
    let mut begin = [0; 12];
    watched.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
    let mut goes_on = rig.watch(&other);
    let answer = rig.post_to_console("/console/logout", &cookie, "{}");
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let begun = Instant::now();
    watched.patience(Duration::from_secs(2));
    let mut told = Vec::new();
    // Up to the last piece of a chunked body.
    while !told.ends_with(b"\r\n0\r\n\r\n") {
        let mut more = [0; 4096];
        let read = watched.read(&mut more).unwrap();
        told.extend_from_slice(&more[..read]);
        assert!(read > 0 && begun.elapsed() < Duration::from_secs(3));
    }
    goes_on.read_exact(&mut begin).unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
}
