use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::{golden::Golden, store::old};

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

/// A document of each kind with everything that it can have, as `golden` has it.
/// The types have no `..`: a new field does not compile before it is there.
#[test]
fn a_document_of_each_kind_is_written_as_it_always_was() {
    let mut golden = Golden::of("store/document/golden");
    let drain = |outcome| desired::Drain {
        since: 1000,
        timeout: 300,
        flows_at_start: Some(12),
        cut: 7,
        outcome,
    };
    let check = || desired::HealthCheck {
        target: "HTTPS:8443/ping".to_owned(),
        interval: 20,
        timeout: Some(4),
        unhealthy_threshold: 5,
        healthy_threshold: 3,
        verify_certificate: true,
        server_name: Some("www.example.com".to_owned()),
    };
    let registrations = [
        desired::Registration::Registered { cancelled: None },
        desired::Registration::Registered {
            cancelled: Some(drain(Some(desired::Outcome::Cancelled))),
        },
        desired::Registration::Draining(drain(None)),
        desired::Registration::Closing(drain(Some(desired::Outcome::Ended))),
        desired::Registration::Gone {
            since: 2000,
            drain: drain(Some(desired::Outcome::Cut { flows: 7 })),
        },
    ];
    let health = [
        None,
        Some(desired::Health::Healthy),
        Some(desired::Health::Unhealthy),
        Some(desired::Health::Unknown),
        None,
    ];
    let backends =
        registrations
            .into_iter()
            .zip(health)
            .zip(1_u8..)
            .map(|((registration, by_hand), n)| {
                let backend = desired::Backend {
                    address: [10, 0, 1, n].into(),
                    weight: u16::from(n),
                    registration,
                    by_hand,
                };
                (format!("web-{n}"), backend)
            });
    let lb = desired::LoadBalancer {
        mode: desired::Mode::Nat,
        created: "2026-01-02T03:04:05.678Z".to_owned(),
        listeners: BTreeMap::from([("tcp 10.0.0.100:80".to_owned(), 8080)]),
        attributes: desired::Attributes {
            draining: true,
            drain_timeout: 300,
            idle_timeout: 350,
            close_rate: 100,
            nat_source: desired::NatSource::Client,
        },
        health_check: Some(check()),
        backends: backends.collect(),
        deleting: true,
        elb: json!({ "tags": { "team": "web" } }),
    };
    let spot = |n, checked| node::Spot {
        index: Some(n),
        epoch: 7,
        checked,
        cutting: true,
    };
    let checked = [
        Some(desired::Health::Healthy),
        Some(desired::Health::Unhealthy),
        Some(desired::Health::Unknown),
        None,
        None,
    ];
    let spots = checked
        .into_iter()
        .zip(1_u16..)
        .map(|(checked, n)| (format!("web-{n}"), spot(n, checked)))
        .map(|(id, spot)| match id.as_str() {
            // It is gone.
            "web-5" => (
                id,
                node::Spot {
                    index: None,
                    ..spot
                },
            ),
            _ => (id, spot),
        });
    let placement = node::Placement {
        index: 3,
        held: BTreeSet::from(["10.0.0.101".parse().unwrap()]),
        backends: spots.collect(),
    };
    let declared_as = |mode| declared::LoadBalancer {
        mode,
        listeners: BTreeMap::from([("udp [fd00::100]:53".to_owned(), 53)]),
        backends: BTreeMap::from([(
            "web-1".to_owned(),
            declared::Backend {
                address: "fd00:1::1".parse().unwrap(),
                weight: 5,
            },
        )]),
        attributes: declared::Attributes {
            draining: Some(false),
            drain_timeout: Some(60),
            idle_timeout: Some(600),
            close_rate: Some(0),
            nat_source: Some(desired::NatSource::Ebb),
        },
        health_check: Some(check()),
    };
    let declared = declared::Declared::from([
        ("dns".to_owned(), declared_as(desired::Mode::Dsr)),
        ("tunnels".to_owned(), declared_as(desired::Mode::Ipip)),
    ]);
    let shared = node::Node {
        epochs: 10,
        retired: BTreeSet::from([8, 9]),
    };
    let vips: BTreeMap<IpAddr, String> =
        BTreeMap::from([("10.0.0.100".parse().unwrap(), "eth0".to_owned())]);
    let written = [
        golden.json(Kind::LoadBalancer.name(), &lb),
        golden.json(Kind::Placement.name(), &placement),
        golden.json(Kind::Declared.name(), &declared),
        golden.json(Kind::Node.name(), &shared),
        golden.json(Kind::Vips.name(), &vips),
    ];
    golden.held_whole();

    // What they are read as is written as the same again.
    let names = ["web", "web", "/etc/ebb/ebb.toml", "", ""];
    let keys = Kind::ALL.into_iter().zip(names).map(|(kind, name)| Key {
        kind,
        name: name.to_owned(),
    });
    let written: BTreeMap<Key, String> = keys.zip(written).collect();
    let again = documents(&assemble(written.clone()).unwrap());
    let values = |documents: BTreeMap<Key, String>| -> BTreeMap<Key, Value> {
        let value = |(key, text): (Key, String)| (key, serde_json::from_str(&text).unwrap());
        documents.into_iter().map(value).collect()
    };
    assert_eq!(values(again), values(written));
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

/// What is changed of the placement of `dns` in what [`state`] has.
fn with_placement(change: impl FnOnce(&mut Value)) -> Box<Fault> {
    let mut documents = documents(&state());
    let key = Key {
        kind: Kind::Placement,
        name: "dns".to_owned(),
    };
    let mut placement = serde_json::from_str(&documents[&key]).unwrap();
    change(&mut placement);
    documents.insert(key, placement.to_string());
    assemble(documents).unwrap_err()
}

#[test]
fn an_index_that_two_have_or_nobody_can_have_is_refused() {
    let faults = [
        // That of `web`; of a backend of it; one that is retired; nobody's.
        with_placement(|dns| dns["index"] = json!(1)),
        with_placement(|dns| dns["backends"]["dns-1"]["index"] = json!(4)),
        with_placement(|dns| dns["backends"]["dns-1"]["index"] = json!(3)),
        with_placement(|dns| dns["backends"]["dns-1"]["index"] = json!(65_535)),
        with_placement(|dns| dns["index"] = json!(65_535)),
    ];
    for fault in faults {
        assert!(matches!(fault.error, BadDocument::Index { .. }), "{fault}");
    }
}

#[test]
fn a_backend_has_an_index_until_it_is_gone() {
    let faults = [
        with_placement(|dns| dns["backends"]["dns-1"]["index"] = Value::Null),
        with_placement(|dns| dns["backends"]["dns-2"]["index"] = json!(77)),
    ];
    for fault in faults {
        assert!(matches!(fault.error, BadDocument::Indices), "{fault}");
    }
}

#[test]
fn every_kind_is_found_by_its_name() {
    for kind in Kind::ALL {
        assert_eq!(Kind::named(kind.name()), Some(kind));
    }
    assert_eq!(Kind::named("x"), None);
}
