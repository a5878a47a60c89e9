//! The command line on the real control task, with a data plane in memory: a
//! backend's life as an operator leads it.

use std::{path::PathBuf, process::Stdio};

use lb_userspace::{
    dataplane::memory::World,
    model::{ListenerKey, Protocol},
    wire::{Applied, Attributes, Backend, Backends, Deleted, DrainOutcome, Error, Flows},
};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use crate::fake::{self, Agent, ebb, eventually, stderr, stdout};

const WEB: ListenerKey = ListenerKey {
    protocol: Protocol::Tcp,
    address: std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 100)),
    port: 80,
};

/// An agent that has the load balancer `web` with two backends.
fn site() -> (Agent, World, TempDir) {
    let dir = fake::folder();
    let (agent, world) = Agent::real(&dir.path().join("ebb.sock"));
    let created = agent.ebb(&[
        "lb",
        "create",
        "web",
        "--listener",
        "tcp:10.0.0.100:80:8080",
        "--backend",
        "web-1=10.0.1.11",
        "--backend",
        "web-2=10.0.1.12@2",
    ]);
    assert_eq!(created.status.code(), Some(0), "{}", stderr(&created));
    eventually("both backends take new flows", || {
        let all: Backends = json(&agent, &["backend", "list", "web"]);
        all.backends.iter().all(|b| b.takes_new).then_some(())
    });
    (agent, world, dir)
}

fn json<T: DeserializeOwned>(agent: &Agent, args: &[&str]) -> T {
    let output = agent.ebb(&[&["--json"], args].concat());
    assert_eq!(
        output.status.code(),
        Some(0),
        "{args:?}: {}",
        stderr(&output)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

fn refused(agent: &Agent, args: &[&str]) -> lb_userspace::wire::ErrorBody {
    let output = agent.ebb(&[&["--json"], args].concat());
    assert_eq!(
        output.status.code(),
        Some(1),
        "{args:?}: {}",
        stdout(&output)
    );
    serde_json::from_slice::<Error>(&output.stderr)
        .unwrap()
        .error
}

/// Opens flows until `backend` has one; answers with that one.
fn flow_on(agent: &Agent, world: &World, backend: &str) -> u64 {
    for choice in 0.. {
        let flow = world.connect(WEB, choice).unwrap();
        let shown: Flows = json(agent, &["flows", "web", "--backend", backend]);
        if !shown.flows.is_empty() {
            return flow;
        }
        world.end(flow);
    }
    unreachable!("one of the choices is it")
}

#[test]
fn a_drain_ends_with_its_last_flow() {
    let (agent, world, _dir) = site();
    let flow = flow_on(&agent, &world, "web-1");
    let waiter = ebb(
        &agent.socket,
        &["backend", "deregister", "web", "web-1", "--wait"],
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    eventually("web-1 drains", || {
        let backend: Backend = json(&agent, &["backend", "show", "web", "web-1"]);
        (backend.registration == "draining").then_some(())
    });
    world.end(flow);
    let output = waiter.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(
        stdout(&output),
        "web-1 of web is gone: every flow ended by itself\n"
    );
    // How it went is known for a while.
    let gone: Backend = json(&agent, &["backend", "show", "web", "web-1"]);
    assert_eq!(gone.drain.unwrap().outcome, Some(DrainOutcome::Ended));
    let left: Backends = json(&agent, &["backend", "list", "web"]);
    assert_eq!(left.backends.len(), 1);
}

#[test]
fn a_deadline_cuts_what_is_left_and_says_how_many() {
    let (agent, world, _dir) = site();
    flow_on(&agent, &world, "web-1");
    let output = agent.ebb(&[
        "backend",
        "deregister",
        "web",
        "web-1",
        "--timeout",
        "1",
        "--wait",
    ]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
    assert_eq!(stdout(&output), "web-1 of web is gone: 1 flow was cut\n");
}

#[test]
fn now_cuts_at_once_and_registering_again_cancels_a_drain() {
    let (agent, world, _dir) = site();
    flow_on(&agent, &world, "web-1");
    let drain: Backend = json(&agent, &["backend", "deregister", "web", "web-1"]);
    assert_eq!(drain.registration, "draining");
    let back: Backends = json(&agent, &["backend", "register", "web", "web-1=10.0.1.11"]);
    assert_eq!(back.backends[0].registration, "registered");
    assert_eq!(back.backends[0].flows, 1);
    let output = agent.ebb(&["backend", "deregister", "web", "web-1", "--now", "--wait"]);
    assert_eq!(output.status.code(), Some(3), "{}", stderr(&output));
}

#[test]
fn slips_of_the_fingers_are_met_with_the_name_that_was_meant() {
    let (agent, _world, _dir) = site();
    for (args, code, hint) in [
        (
            &["lb", "show", "wbe"][..],
            "no_such_load_balancer",
            "\"web\"",
        ),
        (
            &["backend", "show", "web", "web1"],
            "no_such_backend",
            "\"web-1\"",
        ),
        (
            &["backend", "deregister", "web", "wbe-2"],
            "no_such_backend",
            "\"web-2\"",
        ),
    ] {
        let error = refused(&agent, args);
        assert_eq!(error.code, code, "{args:?}");
        let said = error.hint.unwrap_or_default();
        assert!(said.contains(hint), "{args:?}: {said}");
    }
    let twice = refused(
        &agent,
        &["lb", "create", "web", "--listener", "tcp:10.0.0.101:80"],
    );
    assert_eq!(twice.code, "load_balancer_exists");
    let taken = refused(
        &agent,
        &["lb", "create", "other", "--listener", "tcp:10.0.0.100:80"],
    );
    assert_eq!(taken.code, "duplicate_listener");
}

#[test]
fn attributes_are_merged_and_kept() {
    let (agent, _world, _dir) = site();
    let set: Attributes = json(
        &agent,
        &[
            "attributes",
            "set",
            "web",
            "connection-draining.timeout=7",
            "close-rate=100",
        ],
    );
    assert!(set.connection_draining.enabled);
    assert_eq!(set.connection_draining.timeout, 7);
    let shown: Attributes = json(&agent, &["attributes", "show", "web"]);
    assert_eq!(shown, set);
}

#[test]
fn a_file_is_applied_once_and_then_changes_nothing() {
    let (agent, world, dir) = site();
    flow_on(&agent, &world, "web-2");
    let file: PathBuf = dir.path().join("web.toml");
    std::fs::write(
        &file,
        r#"
[[load_balancer]]
name = "web"
mode = "nat"
listeners = [{ protocol = "tcp", address = "10.0.0.100", port = 80, backend_port = 8080 }]
backends = [{ id = "web-1", address = "10.0.1.11" }, { id = "web-3", address = "10.0.1.13" }]
"#,
    )
    .unwrap();
    let file = file.to_str().unwrap();
    let plan: Applied = json(&agent, &["apply", file, "--dry-run"]);
    assert!(plan.dry_run);
    assert!(!plan.steps.is_empty());
    let all: Backends = json(&agent, &["backend", "list", "web"]);
    assert_eq!(all.backends.len(), 2, "a dry run changes nothing");

    let done: Applied = json(&agent, &["apply", file]);
    assert_eq!(done.steps, plan.steps);
    let state = |id: &str| {
        let backend: Backend = json(&agent, &["backend", "show", "web", id]);
        backend.registration
    };
    assert_eq!(state("web-1"), "registered");
    assert_eq!(state("web-2"), "draining", "drained, not dropped");
    assert_eq!(state("web-3"), "registered");
    let again = agent.ebb(&["apply", file]);
    assert_eq!(
        stdout(&again),
        "nothing to do: everything is as the file says\n"
    );

    std::fs::write(dir.path().join("bad.toml"), "[[load_balancers]]\n").unwrap();
    let bad = dir.path().join("bad.toml");
    let error = refused(&agent, &["apply", bad.to_str().unwrap()]);
    assert_eq!(error.code, "bad_document");
    assert!(error.message.contains("bad.toml:1:"), "{}", error.message);
}

#[test]
fn deleting_drains_what_is_open() {
    let (agent, world, _dir) = site();
    let flow = flow_on(&agent, &world, "web-1");
    let deleted: Deleted = json(&agent, &["lb", "delete", "web"]);
    assert!(!deleted.gone);
    assert_eq!(deleted.flows, 1);
    assert!(world.connect(WEB, 0).is_err(), "clients are refused");
    let listed = agent.ebb(&["lb", "list"]);
    assert!(
        stdout(&listed).contains("deleting, draining"),
        "{}",
        stdout(&listed)
    );
    world.end(flow);
    eventually("the load balancer is gone", || {
        let output = agent.ebb(&["lb", "show", "web"]);
        (output.status.code() == Some(1)).then_some(())
    });
}
