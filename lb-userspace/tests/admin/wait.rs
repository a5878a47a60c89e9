//! `ebb backend deregister --wait`: what it shows, and how it ends.

use std::{collections::VecDeque, time::Duration};

use lb_userspace::{
    control::{Error, handle::Request},
    wire::{Backend, DrainOutcome},
};

use crate::fake::{self, Agent, backend, draining, ebb, gone, stderr, stdout};

/// Starts a drain when asked to, then shows `course`, its last step again and
/// again.
fn drain(course: Vec<Backend>) -> impl FnMut(Request) + Send + 'static {
    let mut course = VecDeque::from(course);
    move |request| match request {
        Request::Deregister(_, _, _, reply) => drop(reply.send(Ok(vec![draining("web-1", 9)]))),
        Request::Backend(_, _, reply) => {
            let step = if course.len() > 1 {
                course.pop_front()
            } else {
                course.front().cloned()
            };
            drop(reply.send(Ok(step.expect("a course has a step"))));
        }
        other => panic!("no answer to {other:?}"),
    }
}

const WAIT: [&str; 5] = ["backend", "deregister", "web", "web-1", "--wait"];

#[test]
fn it_ends_with_zero_when_every_flow_ended_by_itself() {
    let (agent, _dir, _) = Agent::recorded(drain(vec![
        draining("web-1", 9),
        draining("web-1", 4),
        gone("web-1", DrainOutcome::Ended),
    ]));
    let output = agent.ebb(&WAIT);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "web-1 of web is gone: every flow ended by itself\n"
    );
    assert!(
        stderr(&output).starts_with("web-1 of web: 9 of 9 flows left, 4m59s to the deadline\n")
    );
}

#[test]
fn it_ends_with_three_and_the_number_when_some_were_cut() {
    let (agent, _dir, _) = Agent::recorded(drain(vec![gone(
        "web-1",
        DrainOutcome::Cut { flows: 1234 },
    )]));
    let output = agent.ebb(&WAIT);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "web-1 of web is gone: 1,234 flows were cut\n"
    );

    let output = agent.ebb(&[&WAIT[..], &["--json"]].concat());
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(stderr(&output), "");
    let document: Backend = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        document.drain.unwrap().outcome,
        Some(DrainOutcome::Cut { flows: 1234 })
    );
}

#[test]
fn a_drain_that_cut_nothing_ends_with_zero() {
    let outcome = DrainOutcome::Cut { flows: 0 };
    let (agent, _dir, _) = Agent::recorded(drain(vec![gone("web-1", outcome)]));
    let output = agent.ebb(&WAIT);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_drain_that_is_cancelled_ends_with_one() {
    let (agent, _dir, _) = Agent::recorded(drain(vec![draining("web-1", 9), backend("web-1")]));
    let output = agent.ebb(&WAIT);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("registered again"), "{text}");
}

#[test]
fn it_waits_through_a_restart_of_the_agent() {
    let dir = fake::folder();
    let socket = dir.path().join("ebb.sock");
    let mut play = drain(vec![draining("web-1", 9)]);
    let (asked, is_asked) = std::sync::mpsc::channel();
    let first = Agent::start(&socket, move |_, request| {
        let waits = matches!(request, Request::Backend(..));
        play(request);
        if waits {
            // Only the first question is listened for.
            asked.send(()).unwrap_or_default();
        }
    });
    let waiter = ebb(&socket, &WAIT)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    is_asked.recv_timeout(Duration::from_secs(10)).unwrap();
    drop(first);
    // Long enough for the waiter to find nobody.
    std::thread::sleep(Duration::from_millis(500));
    let mut play = drain(vec![gone("web-1", DrainOutcome::Ended)]);
    let _second = Agent::start(&socket, move |_, request| play(request));
    let output = waiter.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("the agent does not answer"));
}

#[test]
fn a_refused_deregistration_is_not_waited_for() {
    let (agent, _dir, _) = Agent::recorded(|request| match request {
        Request::Deregister(lb, ids, _, reply) => {
            drop(reply.send(Err(Error::NoSuchBackend {
                lb,
                id: ids[0].clone(),
                nearest: None,
            })));
        }
        other => panic!("no answer to {other:?}"),
    });
    let output = agent.ebb(&WAIT);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has no backend \"web-1\""));
}
