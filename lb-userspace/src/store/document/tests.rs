use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::store::old;

/// What version 0.1.0 left, of which every kind of document is made.
fn state() -> State {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let old = old::read(&path.join("src/store/old/state-0.1.0.json")).unwrap();
    old.unwrap().state
}

fn documents(state: &State) -> BTreeMap<Key, String> {
    let all = differing(&State::default(), state).unwrap();
    all.into_iter()
        .map(|(key, text)| (key, text.unwrap()))
        .collect()
}

fn document(kind: Kind, name: &str) -> Value {
    let name = name.to_owned();
    serde_json::from_str(&documents(&state())[&Key { kind, name }]).unwrap()
}

/// What is on disk somewhere. It may only ever be added to.
#[test]
fn the_documents_look_like_this() {
    assert_eq!(
        document(Kind::LoadBalancer, "dns"),
        json!({
            "mode": "dsr",
            "created": "2026-11-27T00:37:00.064Z",
            "listeners": { "udp 10.0.1.210:53": 53 },
            "attributes": {
                "draining": true, "drain_timeout": 300, "idle_timeout": 350, "close_rate": 0
            },
            "backends": {
                "dns-1": {
                    "address": "10.0.1.1", "weight": 1,
                    "registration": { "draining": {
                        "since": 6_267_535, "timeout": 3600, "flows_at_start": 2, "cut": 0
                    } }
                },
                "dns-2": {
                    "address": "10.0.1.2", "weight": 1,
                    "registration": { "gone": {
                        "since": 6_267_632,
                        "drain": {
                            "since": 6_267_569, "timeout": 0, "flows_at_start": 1, "cut": 1,
                            "outcome": { "kind": "cut", "flows": 1 }
                        }
                    } }
                },
                "dns-3": {
                    "address": "10.0.1.3", "weight": 1,
                    "registration": { "registered": { "cancelled": {
                        "since": 6_267_660, "timeout": 1800, "flows_at_start": 3, "cut": 0,
                        "outcome": { "kind": "cancelled" }
                    } } }
                }
            }
        })
    );
    assert_eq!(
        document(Kind::Placement, "web"),
        json!({
            "index": 1,
            "backends": {
                "web-1": { "epoch": 4, "checked": "unknown" },
                "web-2": { "index": 4, "epoch": 5, "checked": "unknown" }
            }
        })
    );
    assert_eq!(
        document(Kind::Node, ""),
        json!({ "epochs": 10, "retired": [1, 3] })
    );
    assert_eq!(document(Kind::Vips, "")["10.0.1.200"], json!("lan0"));
    assert_eq!(
        document(Kind::Declared, "/tmp/ebb-0.1.0/ebb.toml")["web"],
        json!({
            "mode": "nat",
            "listeners": { "tcp 10.0.1.200:80": 8080, "tcp 10.0.1.201:443": 8443 },
            "backends": {
                "web-1": { "address": "10.0.1.1", "weight": 1 },
                "web-2": { "address": "10.0.1.2", "weight": 3 }
            },
            "attributes": { "draining": true, "drain_timeout": 900, "idle_timeout": 600 },
            "health_check": {
                "target": "HTTP:8080/ping", "interval": 30, "timeout": 2,
                "unhealthy_threshold": 2, "healthy_threshold": 10, "verify_certificate": false
            }
        })
    );
    let six = document(Kind::LoadBalancer, "six");
    assert_eq!(six["backends"]["six-2"]["by_hand"], json!("unhealthy"));
}

#[test]
fn what_is_written_is_read() {
    let state = state();
    assert_eq!(assemble(documents(&state)).unwrap(), state);
    assert_eq!(assemble([]).unwrap(), State::default());
    assert_eq!(differing(&state, &state.clone()).unwrap(), []);
}

#[test]
fn halves_that_do_not_fit_are_refused() {
    let key = |kind, name: &str| Key {
        kind,
        name: name.to_owned(),
    };
    for gone in [key(Kind::LoadBalancer, "dns"), key(Kind::Placement, "dns")] {
        let mut documents = documents(&state());
        documents.remove(&gone);
        let fault = assemble(documents).unwrap_err();
        assert!(matches!(fault.error, BadDocument::Alone), "{fault}");
    }
    let mut documents = documents(&state());
    let other = documents[&key(Kind::Placement, "web")].clone();
    documents.insert(key(Kind::Placement, "dns"), other);
    let fault = assemble(documents).unwrap_err();
    assert_eq!(fault.key.to_string(), "the placement document of dns");
    assert!(matches!(fault.error, BadDocument::OtherBackends), "{fault}");
}

#[test]
fn every_kind_is_found_by_its_name() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
    }
    assert_eq!(Kind::named("x"), None);
}
