//! What the binary prints, asks for, and ends with.

use std::{
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    process::Stdio,
};

use lb_userspace::{
    control::handle::Request,
    wire::{Deleted, ErrorBody, Flows, LoadBalancers},
};

use crate::fake::{
    self, Agent, attributes, backend, draining, ebb, load_balancer, no_such_lb, stderr, stdout,
};

/// Answers everything as if it had just been done.
fn agreeable(request: Request) {
    match request {
        Request::LoadBalancers(reply) => drop(reply.send(Ok(vec![load_balancer("web")]))),
        Request::LoadBalancer(name, reply) if name == "web" => {
            drop(reply.send(Ok(load_balancer(&name))));
        }
        Request::LoadBalancer(name, reply) => drop(reply.send(Err(no_such_lb(&name)))),
        Request::CreateLoadBalancer(new, reply) => {
            drop(reply.send(Ok(load_balancer(&new.name))));
        }
        Request::DeleteLoadBalancer(name, _, reply) => drop(reply.send(Ok(Deleted {
            name,
            backends: vec!["web-1".to_owned()],
            flows: 7,
            gone: false,
        }))),
        Request::Register(_, _, reply) => drop(reply.send(Ok(vec![backend("web-1")]))),
        Request::Deregister(_, _, _, reply) => drop(reply.send(Ok(vec![draining("web-1", 7)]))),
        Request::SetHealth(_, _, _, reply) => drop(reply.send(Ok(backend("web-1")))),
        Request::SetAttributes(_, _, reply) => drop(reply.send(Ok(attributes()))),
        Request::Flows(_, _, reply) => drop(reply.send(Ok(Flows::default()))),
        Request::Status(reply) => drop(reply.send(Ok(fake::status()))),
        other => panic!("no answer to {other:?}"),
    }
}

#[test]
fn a_list_is_a_table_for_people_and_the_apis_document_for_programs() {
    let (agent, _dir, _) = Agent::recorded(agreeable);
    let people = agent.ebb(&["lb", "list"]);
    assert_eq!(people.status.code(), Some(0), "{}", stderr(&people));
    let text = stdout(&people);
    assert!(text.contains("tcp:10.0.0.100:80 -> 8080"), "{text}");
    assert!(!text.contains('\x1b'), "colours in a pipe: {text:?}");

    let programs = agent.ebb(&["lb", "list", "--json"]);
    let document: LoadBalancers = serde_json::from_slice(&programs.stdout).unwrap();
    assert_eq!(document.load_balancers, [load_balancer("web")]);
}

#[test]
fn every_verb_asks_for_what_was_typed() {
    let (agent, _dir, seen) = Agent::recorded(agreeable);
    let verbs: &[(&[&str], &[&str])] = &[
        (
            &[
                "lb",
                "create",
                "web",
                "--mode",
                "dsr",
                "--listener",
                "tcp:10.0.0.100:80",
                "--backend",
                "web-1=10.0.1.11@3",
                "--attribute",
                "idle-timeout=60",
            ],
            &[
                "CreateLoadBalancer",
                "mode: Dsr",
                "address: 10.0.0.100, port: 80, backend_port: None",
                "id: Some(\"web-1\"), address: 10.0.1.11, weight: 3",
                "idle_timeout: Some(60)",
            ],
        ),
        (
            &["lb", "delete", "web", "--timeout", "9"],
            &["DeleteLoadBalancer(\"web\"", "timeout: Some(9), now: false"],
        ),
        (
            &["lb", "delete", "web", "--now"],
            &["DeleteLoadBalancer(\"web\"", "timeout: None, now: true"],
        ),
        (
            &["backend", "register", "web", "a=10.0.1.1", "10.0.1.2"],
            &[
                "Register(\"web\"",
                "id: Some(\"a\"), address: 10.0.1.1, weight: 1",
                "id: None, address: 10.0.1.2, weight: 1",
            ],
        ),
        (
            &["backend", "deregister", "web", "x/y?z", "--timeout", "3600"],
            &[
                "Deregister(\"web\", [\"x/y?z\"]",
                "timeout: Some(3600), now: false",
            ],
        ),
        (
            &["backend", "health", "web", "web-1", "unhealthy"],
            &["SetHealth(\"web\", \"web-1\", Unhealthy"],
        ),
        (
            &[
                "attributes",
                "set",
                "web",
                "connection-draining.enabled=false",
            ],
            &[
                "SetAttributes(\"web\"",
                "enabled: Some(false), timeout: None",
            ],
        ),
        (
            &[
                "flows",
                "web",
                "--backend",
                "a&b=c",
                "--limit",
                "3",
                "--sort",
                "bytes",
            ],
            &[
                "Flows(\"web\"",
                "backend: Some(\"a&b=c\"), sort: Bytes, limit: Some(3)",
            ],
        ),
        (&["status"], &["Status"]),
    ];
    for (args, asked) in verbs {
        let output = agent.ebb(args);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{args:?}: {}",
            stderr(&output)
        );
        let request = seen.lock().unwrap().pop().unwrap();
        for part in *asked {
            assert!(request.contains(part), "{args:?}: no {part} in {request}");
        }
    }
}

#[test]
fn the_agent_is_told_who_asks() {
    let (agent, _dir, seen) = Agent::recorded(agreeable);
    let mut child = ebb(&agent.socket, &["lb", "list"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    assert!(child.wait().unwrap().success());
    let uid = nix::unistd::Uid::current();
    let request = seen.lock().unwrap().pop().unwrap();
    assert!(
        request.starts_with(&format!("uid {uid} pid {pid}: ")),
        "{request}"
    );
}

#[test]
fn an_unknown_name_is_refused_with_the_nearest_one() {
    let (agent, _dir, _) = Agent::recorded(agreeable);
    let output = agent.ebb(&["lb", "show", "wbe"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    assert_eq!(
        stderr(&output),
        "error: there is no load balancer named \"wbe\"\n hint: did you mean \"web\"?\n"
    );

    let output = agent.ebb(&["lb", "show", "wbe", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stdout(&output), "");
    let error: lb_userspace::wire::Error = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(
        error.error,
        ErrorBody {
            code: "no_such_load_balancer".to_owned(),
            message: "there is no load balancer named \"wbe\"".to_owned(),
            hint: Some("did you mean \"web\"?".to_owned()),
        }
    );
}

#[test]
fn no_agent_is_an_error_that_says_how_to_start_it() {
    let dir = fake::folder();
    let socket = dir.path().join("ebb.sock");
    let output = ebb(&socket, &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("the agent is not running"), "{text}");
    assert!(text.contains("ebb agent --config FILE"), "{text}");

    // A killed agent leaves its socket.
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let output = ebb(&socket, &["status"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("nobody listens on"));
}

#[test]
fn no_permission_is_an_error_that_names_the_group() {
    let (agent, dir, _) = Agent::recorded(agreeable);
    let mut command = ebb(&agent.socket, &["status"]);
    if nix::unistd::Uid::current().is_root() {
        // The binary must be within reach of nobody, wherever it was built.
        let binary = dir.path().join("ebb");
        // Copied by another process: while this one had it open for writing, a
        // test that forks would keep it from being run.
        let copied = std::process::Command::new("cp")
            .args([env!("CARGO_BIN_EXE_ebb").as_ref(), binary.as_path()])
            .status();
        assert!(copied.unwrap().success());
        command = std::process::Command::new(binary);
        command.env("EBB_SOCKET", &agent.socket).arg("status");
        command.uid(65_534).gid(65_534);
    } else {
        let none = std::fs::Permissions::from_mode(0o000);
        std::fs::set_permissions(&agent.socket, none).unwrap();
    }
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(text.contains("no permission to use"), "{text}");
    assert!(text.contains("usermod --append --groups ebb"), "{text}");
}

#[test]
fn wrong_usage_ends_with_two_and_asks_nothing() {
    let (agent, _dir, seen) = Agent::recorded(agreeable);
    for (args, reason) in [
        (
            &["backend", "deregister", "web", "web-1", "--timeout", "0"][..],
            "1 to 3600",
        ),
        (
            &["backend", "deregister", "web", "web-1", "--timeout", "3601"],
            "1 to 3600",
        ),
        (
            &[
                "backend",
                "deregister",
                "web",
                "web-1",
                "--now",
                "--timeout",
                "9",
            ],
            "--now",
        ),
        (
            &["attributes", "set", "web", "idle-timout=9"],
            "idle-timeout",
        ),
        (&["lb", "create", "web"], "--listener"),
        (&["lb", "crate", "web"], "create"),
        (&["backend", "health", "web", "web-1", "fine"], "healthy"),
    ] {
        let output = agent.ebb(args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(
            stderr(&output).contains(reason),
            "{args:?}: {}",
            stderr(&output)
        );

        let output = agent.ebb(&[args, &["--json"]].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let error: lb_userspace::wire::Error = serde_json::from_slice(&output.stderr).unwrap();
        assert_eq!(error.error.code, "usage");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let (agent, _dir, _) = Agent::recorded(agreeable);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = ebb(&agent.socket, &["lb", "list"])
        .stdout(writer)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_configuration_is_checked_without_an_agent() {
    let dir = fake::folder();
    let socket = dir.path().join("none");
    let file = dir.path().join("ebb.toml");
    let check = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let path = file.to_str().unwrap();
        ebb(&socket, &["check-config", "--elsewhere", path])
            .output()
            .unwrap()
    };
    let good = check(
        "interfaces = [\"eth0\"]\n[[load_balancer]]\nname = \"web\"\nmode = \"nat\"\n\
         listeners = [{ protocol = \"tcp\", address = \"10.0.0.100\", port = 80 }]\n",
    );
    assert_eq!(good.status.code(), Some(0), "{}", stderr(&good));
    assert!(stdout(&good).contains("1 load balancer, 0 backends"));

    let bad = check("interfaces = [\"eth0\"]\nmanage_vip = true\n");
    assert_eq!(bad.status.code(), Some(1));
    assert_eq!(stdout(&bad), "");
    let text = stderr(&bad);
    assert!(text.contains("ebb.toml:2:1: "), "{text}");
    assert!(text.contains("manage_vips"), "{text}");

    let path = dir.path().join("missing.toml");
    let missing = ebb(&socket, &["check-config", path.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("No such file"));
}

#[test]
fn completions_and_man_pages_come_from_the_definitions() {
    let dir = fake::folder();
    let socket = dir.path().join("none");
    for shell in ["bash", "zsh", "fish"] {
        let output = ebb(&socket, &["completions", shell]).output().unwrap();
        assert!(stdout(&output).contains("deregister"), "{shell}");
    }
    let man = dir.path().join("man");
    let output = ebb(&socket, &["man", man.to_str().unwrap()])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(man.join("ebb-backend-deregister.1").exists());
}
