//! Whatever is asked of the real control task over the socket: it is done whole
//! or not at all, and nothing stops.

use std::collections::BTreeMap;

use proptest::{prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value, json};

use crate::{
    fake::{self, Agent},
    requests::ask,
};

/// Requests in one run; each is a connection of its own.
const REQUESTS: u32 = 1500;

/// Values that are right somewhere, almost right, or right nowhere.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        select(vec![
            json!(null),
            json!(true),
            json!(0),
            json!(1),
            json!(80),
            json!(3600),
            json!(3601),
            json!(65536),
            json!(-1),
            json!(1.5),
            json!(u64::MAX),
            json!("web"),
            json!("web-1"),
            json!("a b"),
            json!(""),
            json!("nat"),
            json!("dsr"),
            json!("tcp"),
            json!("10.0.0.100"),
            json!("10.0.1.11"),
            json!("10.0.1.99"),
            json!("127.0.0.1"),
            json!("fd00::1"),
            json!("255.255.255.255"),
            json!("HTTP:80/"),
            json!("HTTP:80"),
            json!("TCP:80"),
            json!("healthy"),
            json!("unhealthy"),
            json!("auto"),
            json!("[[load_balancer]]\nname = \"web\""),
            json!("interfaces = [\"eth0\"]"),
        ]),
        "\\PC{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map(key(), inner, 0..5).prop_map(object),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    select(vec![
        "name",
        "mode",
        "listeners",
        "backends",
        "attributes",
        "health_check",
        "connection_draining",
        "enabled",
        "timeout",
        "idle_timeout",
        "close_rate",
        "protocol",
        "address",
        "port",
        "backend_port",
        "id",
        "weight",
        "target",
        "interval",
        "healthy_threshold",
        "unhealthy_threshold",
        "now",
        "health",
        "document",
        "dry_run",
        "source",
        "x",
    ])
    .prop_map(str::to_owned)
}

fn object(map: BTreeMap<String, Value>) -> Value {
    Value::Object(map.into_iter().collect())
}

/// Bodies that are good, so that not everything is refused.
fn good() -> impl Strategy<Value = (&'static str, &'static str, Value)> {
    let lb = |vip: u8, health: Value| {
        json!({
            "name": "other",
            "mode": "nat",
            "listeners": [
                { "protocol": "tcp", "address": format!("10.0.0.{vip}"), "port": 80 },
                { "protocol": "tcp", "address": "10.0.0.102", "port": 81 },
            ],
            "backends": [{ "id": "o-1", "address": "10.0.1.21" }],
            "health_check": health,
        })
    };
    prop_oneof![
        (
            100_u8..104,
            select(vec![json!(null), json!({ "target": "TCP:80" })])
        )
            .prop_map(move |(vip, health)| ("POST", "/v1/load-balancers", lb(vip, health))),
        (0_u8..4).prop_map(|n| {
            // Some of these are one bad one among good ones.
            let backends: Vec<_> = (0..3)
                .map(|i| json!({ "address": format!("10.0.1.{}", 11 + n * i) }))
                .collect();
            let body = json!({ "backends": backends });
            ("POST", "/v1/load-balancers/web/backends", body)
        }),
        (0_u32..2).prop_map(|timeout| (
            "PATCH",
            "/v1/load-balancers/web/attributes",
            json!({
                "idle_timeout": 77,
                "connection_draining": { "enabled": true, "timeout": timeout },
            })
        )),
        select(vec![1_u32, 5]).prop_map(|interval| (
            "PUT",
            "/v1/load-balancers/web/health-check",
            json!({ "health_check": { "target": "TCP:80", "interval": interval, "timeout": 4 } })
        )),
        Just((
            "POST",
            "/v1/load-balancers/web/backends/web-1/deregister",
            json!({})
        )),
    ]
}

fn any_request() -> impl Strategy<Value = (&'static str, String, Value)> {
    let path = select(vec![
        "/v1/load-balancers",
        "/v1/load-balancers/other",
        "/v1/load-balancers/web/backends",
        "/v1/load-balancers/web/backends/web-1/deregister",
        "/v1/load-balancers/web/backends/web-2/health",
        "/v1/load-balancers/web/attributes",
        "/v1/load-balancers/web/health-check",
        "/v1/load-balancers/web/flows?limit=3",
        "/v1/apply",
        "/v1/%2e%2e/%00",
    ]);
    let method = select(vec!["GET", "POST", "PUT", "PATCH", "DELETE"]);
    let wild = (method, path, value()).prop_map(|(m, p, v)| (m, p.to_owned(), v));
    let body = prop::collection::btree_map(key(), value(), 0..6).prop_map(object);
    let path = select(vec![
        "/v1/load-balancers",
        "/v1/load-balancers/web/backends",
        "/v1/apply",
    ]);
    let nearly = (path, body).prop_map(|(p, v)| ("POST", p.to_owned(), v));
    let good = good().prop_map(|(m, p, v)| (m, p.to_owned(), v));
    prop_oneof![2 => wild, 2 => nearly, 3 => good]
}

/// What is configured, without what moves by itself.
fn configured(agent: &Agent) -> Value {
    let answer = ask(&agent.socket, "GET", "/v1/load-balancers", b"");
    assert_eq!(answer.status, 200);
    let mut all: Value = serde_json::from_slice(&answer.body).unwrap();
    for lb in all["load_balancers"].as_array_mut().unwrap() {
        for backend in lb["backends"].as_array_mut().unwrap() {
            let backend = backend.as_object_mut().unwrap();
            for moving in [
                "drain",
                "counters",
                "next_hop",
                "takes_new",
                "flows",
                "last_check",
            ] {
                backend.remove(moving);
            }
        }
    }
    all
}

#[test]
fn a_refused_request_has_changed_nothing() {
    let dir = fake::folder();
    let (agent, _world) = Agent::real(&dir.path().join("ebb.sock"));
    let created = agent.ebb(&[
        "lb",
        "create",
        "web",
        "--listener",
        "tcp:10.0.0.100:80",
        "--backend",
        "web-1=10.0.1.11",
        "--backend",
        "web-2=10.0.1.12",
    ]);
    assert_eq!(created.status.code(), Some(0), "{}", fake::stderr(&created));

    let (mut done, mut refused) = (0, 0);
    let mut runner = TestRunner::deterministic();
    let mut before = configured(&agent);
    for _ in 0..REQUESTS {
        let (method, path, body) = any_request().new_tree(&mut runner).unwrap().current();
        let text = serde_json::to_vec(&body).unwrap();
        let answer = ask(&agent.socket, method, &path, &text);
        let after = configured(&agent);
        match answer.status {
            200..=299 => done += 1,
            400..=499 => {
                refused += 1;
                // Which it says, in its own form.
                let _ = answer.error();
                assert_eq!(before, after, "{method} {path} {body}");
            }
            status => panic!("{status} for {method} {path} {body}"),
        }
        before = after;
    }
    assert!(
        done > 100 && refused > 300,
        "{done} done, {refused} refused"
    );
}
