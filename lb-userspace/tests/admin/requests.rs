//! What is asked in the wrong way is answered, in JSON, and stops nothing.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use lb_userspace::{
    control::handle::Request,
    wire::{Applied, Error, Flows},
};
use proptest::prelude::*;

use crate::fake::{self, Agent, attributes, backend, load_balancer, no_such_lb};

/// A status and a body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn error(&self) -> lb_userspace::wire::ErrorBody {
        serde_json::from_slice::<Error>(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
            .error
    }
}

fn send(socket: &Path, request: &[u8]) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    // A server that has heard enough may close before it has read all.
    drop(stream.write_all(request));
    drop(stream.shutdown(std::net::Shutdown::Write));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    answer
}

pub(crate) fn ask(socket: &Path, method: &str, path: &str, body: &[u8]) -> Answer {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: ebb\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let mut stream = UnixStream::connect(socket).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    drop(stream.write_all(&request));
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer));
    let split = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .unwrap_or_else(|| panic!("no answer to {method} {path}: {answer:?}"));
    let head = String::from_utf8(answer[..split].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head,
        body: answer[split + 4..].to_vec(),
    }
}

/// Knows the load balancer `web` and nothing else; answers everything.
fn play(request: Request) {
    match request {
        Request::Status(reply) => drop(reply.send(Ok(fake::status()))),
        // The admin API has no use for it.
        Request::Measure(_) | Request::Room(_) | Request::Unreadable(..) => {}
        Request::LoadBalancers(reply) => drop(reply.send(Ok(vec![load_balancer("web")]))),
        Request::CreateLoadBalancer(new, reply) => {
            drop(reply.send(Ok(load_balancer(&new.name))));
        }
        Request::Declare(apply, reply) => drop(reply.send(Ok(Applied {
            dry_run: apply.dry_run,
            steps: Vec::new(),
        }))),
        Request::LoadBalancer(lb, reply) => drop(reply.send(known(&lb, load_balancer))),
        Request::DeleteLoadBalancer(lb, _, reply) => drop(reply.send(Err(no_such_lb(&lb)))),
        Request::AddListeners(lb, _, reply) => drop(reply.send(known(&lb, load_balancer))),
        Request::RemoveListeners(lb, _, reply) => drop(reply.send(known(&lb, load_balancer))),
        Request::Backends(lb, reply) => drop(reply.send(known(&lb, |_| vec![backend("web-1")]))),
        Request::Backend(lb, id, reply) => drop(reply.send(known(&lb, |_| backend(&id)))),
        Request::Register(lb, new, reply) => drop(reply.send(known(&lb, |_| {
            new.iter().map(|_| backend("web-1")).collect()
        }))),
        Request::Deregister(lb, ids, _, reply) => {
            drop(reply.send(known(&lb, |_| ids.iter().map(|id| backend(id)).collect())));
        }
        Request::SetHealth(lb, id, _, reply) => drop(reply.send(known(&lb, |_| backend(&id)))),
        Request::ReportHealth(report) => drop(report.reply.send(Ok(()))),
        Request::Attributes(lb, reply) => drop(reply.send(known(&lb, |_| attributes()))),
        Request::SetAttributes(lb, _, reply) => drop(reply.send(known(&lb, |_| attributes()))),
        Request::HealthCheck(lb, reply) => drop(reply.send(known(&lb, |_| None))),
        Request::SetHealthCheck(lb, check, reply) => drop(reply.send(known(&lb, |_| check))),
        Request::Flows(lb, _, reply) => drop(reply.send(known(&lb, |_| Flows::default()))),
        Request::KeepElb(lb, _, reply) => drop(reply.send(known(&lb, |_| ()))),
    }
}

fn known<T>(lb: &str, answer: impl FnOnce(&str) -> T) -> Result<T, lb_userspace::control::Error> {
    if lb == "web" {
        Ok(answer(lb))
    } else {
        Err(no_such_lb(lb))
    }
}

#[test]
fn every_wrong_request_has_its_status_and_its_code() {
    let (agent, _dir, _) = Agent::recorded(play);
    let long = format!("\"{}\"", "x".repeat(100_000));
    for (method, path, body, status, code) in [
        ("GET", "/", "", 404, "no_such_endpoint"),
        ("GET", "/v1/load-balancer", "", 404, "no_such_endpoint"),
        (
            "GET",
            "/v1/load-balancers/web/x",
            "",
            404,
            "no_such_endpoint",
        ),
        (
            "GET",
            "/v1/load-balancers/wbe",
            "",
            404,
            "no_such_load_balancer",
        ),
        ("POST", "/v1/status", "", 405, "no_such_method"),
        ("DELETE", "/v1/load-balancers", "", 405, "no_such_method"),
        ("GET", "/v1/load-balancers/%ff", "", 400, "bad_path"),
        ("POST", "/v1/load-balancers", "", 400, "no_body"),
        ("POST", "/v1/load-balancers", "{", 400, "not_json"),
        ("POST", "/v1/load-balancers", "[]", 422, "bad_body"),
        ("POST", "/v1/load-balancers", &long, 413, "too_large"),
        (
            "POST",
            "/v1/load-balancers/web/backends",
            r#"{"address":"x"}"#,
            422,
            "bad_body",
        ),
        (
            "POST",
            "/v1/load-balancers/web/backends",
            r#"{"backends":1}"#,
            422,
            "bad_body",
        ),
        (
            "PUT",
            "/v1/load-balancers/web/backends/a/health",
            r#"{"health":"ill"}"#,
            422,
            "bad_body",
        ),
        (
            "PATCH",
            "/v1/load-balancers/web/attributes",
            r#"{"idle":1}"#,
            422,
            "bad_body",
        ),
        (
            "GET",
            "/v1/load-balancers/web/flows?limit=x",
            "",
            400,
            "bad_query",
        ),
        (
            "GET",
            "/v1/load-balancers/web/flows?sort=x",
            "",
            400,
            "bad_query",
        ),
        (
            "GET",
            "/v1/load-balancers/web/flows?limti=1",
            "",
            400,
            "bad_query",
        ),
        (
            "DELETE",
            "/v1/load-balancers/web?now=maybe",
            "",
            400,
            "bad_query",
        ),
    ] {
        let answer = ask(&agent.socket, method, path, body.as_bytes());
        let error = answer.error();
        assert_eq!(
            (answer.status, error.code.as_str()),
            (status, code),
            "{method} {path} {}",
            error.message
        );
        if status == 405 {
            let head = answer.head.to_lowercase();
            assert!(head.contains("\r\nallow: "), "{head}");
        }
    }
}

#[test]
fn a_misspelt_field_is_named_with_those_that_there_are() {
    let (agent, _dir, _) = Agent::recorded(play);
    let body = br#"{"adress":"10.0.1.1"}"#;
    let error = ask(
        &agent.socket,
        "POST",
        "/v1/load-balancers/web/backends",
        body,
    )
    .error();
    assert!(error.message.contains("`adress`"), "{}", error.message);
    assert!(error.message.contains("`address`"), "{}", error.message);
}

#[test]
fn a_configuration_may_be_larger_than_a_command() {
    let (agent, _dir, _) = Agent::recorded(play);
    for (size, status) in [(500_000, 200), (2_000_000, 200), (20_000_000, 413)] {
        let body = serde_json::json!({ "document": "#".repeat(size), "dry_run": true });
        let body = body.to_string();
        let answer = ask(&agent.socket, "POST", "/v1/apply", body.as_bytes());
        assert_eq!(answer.status, status, "{size}");
    }
}

#[test]
fn one_backend_or_several_are_registered_and_answered_in_kind() {
    let (agent, _dir, _) = Agent::recorded(play);
    let path = "/v1/load-balancers/web/backends";
    let one = ask(&agent.socket, "POST", path, br#"{"address":"10.0.1.1"}"#);
    assert_eq!(one.status, 200);
    serde_json::from_slice::<lb_userspace::wire::Backend>(&one.body).unwrap();
    let several = br#"{"backends":[{"address":"10.0.1.1"},{"address":"fd00::1"}]}"#;
    let several = ask(&agent.socket, "POST", path, several);
    let several: lb_userspace::wire::Backends = serde_json::from_slice(&several.body).unwrap();
    assert_eq!(several.backends.len(), 2);
}

/// Parts of paths, right and wrong.
fn path() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        4 => prop::sample::select(vec![
            "v1", "status", "load-balancers", "web", "backends", "web-1", "deregister", "health",
            "attributes", "flows", "apply", "events",
        ])
        .prop_map(str::to_owned),
        1 => "[!-~&&[^ #?]]{0,12}",
        1 => prop::collection::vec(any::<u8>(), 0..6)
            .prop_map(|bytes| bytes.iter().map(|b| format!("%{b:02x}")).collect()),
    ];
    let query = prop_oneof![
        3 => Just(String::new()),
        1 => "\\?(limit|sort|backend|now|timeout)=[!-~&&[^ #]]{0,8}",
    ];
    let known = prop::sample::select(vec![
        "/v1/status",
        "/v1/load-balancers",
        "/v1/load-balancers/web",
        "/v1/load-balancers/web/backends",
        "/v1/load-balancers/web/backends/web-1",
        "/v1/load-balancers/web/backends/web-1/deregister",
        "/v1/load-balancers/web/backends/web-1/health",
        "/v1/load-balancers/web/attributes",
        "/v1/load-balancers/web/flows",
        "/v1/apply",
    ])
    .prop_map(str::to_owned);
    let made = prop::collection::vec(segment, 0..7)
        .prop_map(|segments| format!("/{}", segments.join("/")));
    (prop_oneof![known, made], query).prop_map(|(path, query)| path + &query)
}

/// JSON with our field names in wrong and right places.
fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        "\\PC{0,12}".prop_map(Into::into),
        prop::sample::select(vec![
            "10.0.0.1",
            "fd00::1",
            "tcp",
            "nat",
            "web",
            "healthy",
            "80",
            "[[load_balancer]]",
        ])
        .prop_map(Into::into),
        (0_u32..4_000).prop_map(Into::into),
    ];
    let key = prop_oneof![
        8 => prop::sample::select(vec![
            "name", "mode", "listeners", "protocol", "address", "port", "backend_port",
            "backends", "id", "weight", "attributes", "connection_draining", "enabled",
            "timeout", "idle_timeout", "close_rate", "now", "health", "document", "dry_run",
            "source",
        ])
        .prop_map(str::to_owned),
        1 => "\\PC{0,8}",
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            prop::collection::hash_map(key.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        1 => Just(Vec::new()),
        1 => prop::collection::vec(any::<u8>(), 0..256),
        4 => json().prop_map(|value| value.to_string().into_bytes()),
    ]
}

/// Against the real control task: what gets through the door is checked there.
#[test]
fn no_request_however_malformed_is_more_than_refused() {
    let dir = fake::folder();
    let (agent, _world) = Agent::real(&dir.path().join("ebb.sock"));
    let web = br#"{"name":"web","mode":"nat",
        "listeners":[{"protocol":"tcp","address":"10.0.0.100","port":80}],
        "backends":[{"id":"web-1","address":"10.0.1.1"}]}"#;
    assert_eq!(
        ask(&agent.socket, "POST", "/v1/load-balancers", web).status,
        201
    );
    let methods = prop_oneof![
        6 => prop::sample::select(vec!["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"])
            .prop_map(str::to_owned),
        1 => "[A-Z]{1,8}",
    ];
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(2_000)
    };
    proptest!(config, |(method in methods, path in path(), body in body())| {
        let answer = ask(&agent.socket, &method, &path, &body);
        prop_assert!(answer.status < 500, "{method} {path}: {}", answer.status);
        // What hyper itself refuses, and HEAD, have no body.
        if answer.status >= 400 && !answer.body.is_empty() {
            answer.error();
        }
    });
    assert_eq!(ask(&agent.socket, "GET", "/v1/status", b"").status, 200);
}

#[test]
fn bytes_that_are_no_http_stop_nothing() {
    let (agent, _dir, _) = Agent::recorded(play);
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(500)
    };
    proptest!(config, |(bytes in prop::collection::vec(any::<u8>(), 0..512))| {
        send(&agent.socket, &bytes);
    });
    for head in [
        "x: y\r\n".repeat(2_000),
        format!("x: {}\r\n", "y".repeat(100_000)),
    ] {
        let request = format!("GET /v1/status HTTP/1.1\r\n{head}\r\n");
        let answer = send(&agent.socket, request.as_bytes());
        assert!(answer.starts_with(b"HTTP/1.1 431"), "{answer:?}");
    }
    assert_eq!(ask(&agent.socket, "GET", "/v1/status", b"").status, 200);
}
