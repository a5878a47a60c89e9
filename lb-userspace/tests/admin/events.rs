//! `ebb events`: nothing that happened is missed, also while the agent is
//! restarted.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, ChildStdout, Stdio},
    time::Duration,
};

use lb_userspace::wire::{Event, Events, What};

use crate::fake::{self, Agent, ebb, stdout};

fn event(number: u64, backend: &str) -> Event {
    Event {
        number,
        time: "2026-01-02T03:04:05Z".to_owned(),
        by: "agent".to_owned(),
        load_balancer: "web".to_owned(),
        backend: Some(backend.to_owned()),
        what: What::Registered,
    }
}

fn ignore(_: &str, _: lb_userspace::control::handle::Request) {}

/// A running `ebb events --follow`.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Follower {
    fn start(socket: &std::path::Path, args: &[&str]) -> Self {
        let mut child = ebb(socket, &["events", "--follow", "--json"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> Event {
        let line = self.lines.next().expect("a line").unwrap();
        serde_json::from_str(&line).unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn what_happened_is_listed_and_what_happens_is_followed() {
    let dir = fake::folder();
    let agent = Agent::start(&dir.path().join("ebb.sock"), ignore);
    agent.happens(event(1, "web-1"));
    agent.happens(event(2, "web-2"));

    let listed = fake::eventually("both events are kept", || {
        let output = agent.ebb(&["events", "--json"]);
        let listed: Events = serde_json::from_slice(&output.stdout).unwrap();
        (listed.events.len() == 2).then_some(listed)
    });
    assert_eq!(listed.events, [event(1, "web-1"), event(2, "web-2")]);
    let one = agent.ebb(&["events", "web", "--backend", "web-1"]);
    assert_eq!(
        stdout(&one),
        "2026-01-02T03:04:05Z  web/web-1: registered\n"
    );
    let none = agent.ebb(&["events", "mail"]);
    assert_eq!(stdout(&none), "");

    let mut follower = Follower::start(&agent.socket, &["--last", "1"]);
    assert_eq!(follower.next(), event(2, "web-2"));
    agent.happens(event(3, "web-1"));
    assert_eq!(follower.next(), event(3, "web-1"));
}

#[test]
fn a_follower_outlives_the_agent_and_hears_its_successor_from_the_start() {
    let dir = fake::folder();
    let socket = dir.path().join("ebb.sock");
    let first = Agent::start(&socket, ignore);
    first.happens(event(1, "web-1"));
    let mut follower = Follower::start(&socket, &["--last", "9"]);
    first.happens(event(2, "web-1"));
    first.happens(event(3, "web-1"));
    for number in 1..=3 {
        assert_eq!(follower.next().number, number);
    }
    let begin = std::time::Instant::now();
    drop(first);
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "a follower keeps the agent from ending"
    );
    let second = Agent::start(&socket, ignore);
    second.happens(event(1, "web-9"));
    assert_eq!(follower.next(), event(1, "web-9"));
}
