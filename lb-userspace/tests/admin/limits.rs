//! Slow clients are cut, too many are turned away, and nobody else waits.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use lb_userspace::{control::handle::Request, wire::Error};

use crate::fake::{self, Agent, stderr};

fn play(request: Request) {
    match request {
        Request::Status(reply) => drop(reply.send(Ok(fake::status()))),
        other => panic!("no answer to {other:?}"),
    }
}

#[test]
fn slow_senders_are_cut_and_stop_nobody_else() {
    let (agent, _dir, _) = Agent::recorded(play);
    let begin = Instant::now();
    let half_said = [
        "",
        "GET /v1/sta",
        "POST /v1/load-balancers HTTP/1.1\r\nhost: ebb\r\ncontent-length: 10\r\n\r\n{",
    ];
    let mut slow: Vec<_> = half_said
        .iter()
        .map(|said| {
            let mut stream = UnixStream::connect(&agent.socket).unwrap();
            stream.write_all(said.as_bytes()).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            stream
        })
        .collect();
    assert!(agent.ebb(&["status"]).status.success());
    let answers: Vec<String> = slow
        .iter_mut()
        .map(|stream| {
            let mut answer = String::new();
            // To the end: the server closes.
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
        .collect();
    assert!(begin.elapsed() < Duration::from_secs(25));
    assert!(answers[2].starts_with("HTTP/1.1 408 "), "{}", answers[2]);
}

#[test]
fn too_many_followers_are_turned_away_with_a_reason() {
    let (agent, _dir, _) = Agent::recorded(play);
    let _followers: Vec<_> = (0..32)
        .map(|_| {
            let mut stream = UnixStream::connect(&agent.socket).unwrap();
            let follow = b"GET /v1/events?follow=true HTTP/1.1\r\nhost: ebb\r\n\r\n";
            stream.write_all(follow).unwrap();
            let mut begin = [0; 12];
            stream.read_exact(&mut begin).unwrap();
            assert_eq!(&begin, b"HTTP/1.1 200");
            stream
        })
        .collect();
    let output = agent.ebb(&["events", "--follow", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let error: Error = serde_json::from_slice(&output.stderr)
        .unwrap_or_else(|e| panic!("{e}: {}", stderr(&output)));
    assert_eq!(error.error.code, "too_many_streams");
    assert!(agent.ebb(&["status"]).status.success());
}

#[test]
fn what_is_under_way_is_answered_before_the_agent_ends() {
    let (asked, is_asked) = std::sync::mpsc::channel();
    let (agent, _dir, _) = Agent::recorded(move |request| {
        asked.send(()).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        play(request);
    });
    let mut stream = UnixStream::connect(&agent.socket).unwrap();
    stream
        .write_all(b"GET /v1/status HTTP/1.1\r\nhost: ebb\r\n\r\n")
        .unwrap();
    is_asked.recv_timeout(Duration::from_secs(10)).unwrap();
    let begin = Instant::now();
    drop(agent);
    assert!(begin.elapsed() < Duration::from_secs(4));
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}
