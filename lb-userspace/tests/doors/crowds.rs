//! More connections than there are places: idle, slow, and listening for ever.

use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use lb_userspace::control::handle::Message;

use crate::rig::{DOORS, Door, Over, Rig, Stream, to_the_end};

/// More than any door has places.
const CROWD: usize = 300;

#[test]
fn idle_connections_shut_no_door() {
    let rig = Rig::start();
    for door in DOORS {
        let idle: Vec<_> = (0..CROWD).map(|_| rig.connect(door)).collect();
        for _ in 0..3 {
            rig.assert_open(door);
        }
        drop(idle);
        // Kept from an answer to the next question.
        let kept: Vec<_> = (0..CROWD)
            .map(|_| {
                let mut stream = rig.connect(door);
                let question = rig.question(door, "keep-alive");
                stream.write_all(question.as_bytes()).unwrap();
                stream
            })
            .collect();
        rig.assert_open(door);
        drop(kept);
    }
}

#[test]
fn who_connects_and_asks_nothing_is_let_go_soon() {
    let rig = Rig::start();
    for door in DOORS {
        let begun = Instant::now();
        let mut idle = rig.connect(door);
        let mut half = rig.connect(door);
        half.write_all(b"GET / HT").unwrap();
        assert_eq!(to_the_end(&mut *idle), "");
        to_the_end(&mut *half);
        let took = begun.elapsed();
        assert!(took < Duration::from_secs(8), "{door:?} took {took:?}");
    }
}

#[test]
fn who_sends_byte_by_byte_shuts_no_door() {
    let rig = Rig::start();
    let over = Over::default();
    let drip = |stream: &mut dyn Stream, said: &str| {
        for byte in said.bytes().chain(std::iter::repeat(b'x')) {
            // Until the server has had enough.
            if over.is() || stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(200));
        }
    };
    // Of the head, and of a body that was announced.
    let body = "POST /v1/apply HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n";
    thread::scope(|scope| {
        let _ends = over.with_this();
        let (rig, drip) = (&rig, &drip);
        for door in DOORS {
            for n in 0..CROWD / 4 {
                scope.spawn(move || {
                    let mut stream = rig.connect(door);
                    if n % 2 == 0 {
                        drip(&mut *stream, "GET / HTTP/1.1\r\nA: ");
                    } else {
                        let _ = stream.write_all(body.as_bytes());
                        drip(&mut *stream, "{");
                    }
                });
            }
        }
        thread::sleep(Duration::from_secs(1));
        for door in DOORS {
            rig.assert_open(door);
        }
    });
}

#[test]
fn when_all_wait_for_answers_the_next_is_told_so() {
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let rig = Rig::spied(move |message| {
        if matches!(message, Message::Request { .. }) {
            // Until it is let go.
            let _ = held.recv();
        }
    });
    let question = rig.question(Door::Elb, "close");
    let waiting: Vec<_> = (0..128)
        .map(|_| {
            let mut stream = rig.connect(Door::Elb);
            stream.write_all(question.as_bytes()).unwrap();
            stream
        })
        .collect();
    let deadline = Instant::now() + Duration::from_secs(10);
    let refused = loop {
        let mut stream = rig.connect(Door::Elb);
        stream.write_all(question.as_bytes()).unwrap();
        let mut answer = [0; 4096];
        // The first ones still find somebody who has not asked yet.
        stream.patience(Duration::from_millis(200));
        match stream.read(&mut answer) {
            Ok(read) if read > 0 => break String::from_utf8_lossy(&answer[..read]).into_owned(),
            _ => assert!(Instant::now() < deadline, "nobody was turned away"),
        }
    };
    drop(hold);
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(
        refused.contains("<Code>ServiceUnavailable</Code>"),
        "{refused}"
    );
    for mut stream in waiting {
        let answer = to_the_end(&mut *stream);
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 200 "),
            "{answer}"
        );
    }
}

const FOLLOW: &[u8] = b"GET /v1/events?follow=true HTTP/1.1\r\nHost: ebb\r\n\r\n";

#[test]
fn followers_of_events_leave_room_for_requests() {
    let rig = Rig::start();
    let followers: Vec<_> = (0..64)
        .map(|_| {
            let mut stream = rig.connect(Door::Admin);
            stream.write_all(FOLLOW).unwrap();
            stream
        })
        .collect();
    rig.assert_open(Door::Admin);
    let request = String::from_utf8(FOLLOW.to_vec()).unwrap();
    let refused = rig.answer(
        rig.connect(Door::Admin),
        &request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"),
    );
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("too_many_streams"), "{refused}");
    drop(followers);
}

#[test]
fn a_user_with_all_the_connections_there_are_does_not_lock_root_out() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let rig = Rig::start();
    let question = rig.question(Door::Admin, "close");
    let crowd: Vec<_> = (0..100)
        .map(|n| {
            let mut stream = rig.connect_as_nobody(Door::Admin);
            let asked = if n % 2 == 0 {
                FOLLOW
            } else {
                b"POST /v1/apply HTTP/1.1\r\n"
            };
            let _ = stream.write_all(asked);
            stream
        })
        .collect();
    rig.assert_open(Door::Admin);
    drop(crowd);
    // And has a share as everybody.
    let answer = rig.answer(rig.connect_as_nobody(Door::Admin), &question);
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[test]
fn watchers_of_the_console_leave_room_for_requests() {
    let rig = Rig::start();
    let cookie = rig.log_in();
    let watchers: Vec<_> = (0..200).map(|_| rig.watch(&cookie)).collect();
    rig.assert_open(Door::Console);
    drop(watchers);
}

#[test]
fn a_crowd_at_the_door_is_one_line_a_second() {
    let rig = Rig::start();
    let begun = Instant::now();
    // Those that listen make no room, so that the rest is turned away.
    let mut turned_away = 0;
    if rustix::process::geteuid().is_root() {
        let _crowd: Vec<_> = (0..28)
            .map(|_| {
                let mut stream = rig.connect_as_nobody(Door::Admin);
                stream
                    .write_all(b"GET /v1/events?follow=true HTTP/1.1\r\nHost: ebb\r\n\r\n")
                    .unwrap();
                stream
            })
            .collect();
        for _ in 0..2_000 {
            drop(rig.connect_as_nobody(Door::Admin));
            turned_away += 1;
        }
    }
    for _ in 0..80 {
        rig.post_to_console("/console/login", "", r#"{"key":"anna","secret":"guess"}"#);
    }
    thread::sleep(Duration::from_millis(1_500));
    let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 2;
    let (away, failed) = (
        rig.lines_with("turning an admin connection"),
        rig.lines_with("a login failed"),
    );
    assert!(away <= seconds, "{away} lines for {turned_away}");
    assert!((1..=seconds).contains(&failed), "{failed} lines");
    assert!(rig.lines_with("more of the kind") > 0);
}
