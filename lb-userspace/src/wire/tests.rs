//! Every document of the admin API as it is sent, in `golden`.
//!
//! Each is written out with all of its fields here, so that a new field does not
//! compile until it has its place in the golden file.

use std::{collections::BTreeMap, fmt::Debug};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

use super::*;
use crate::{
    golden::Golden,
    model::{Mode, Protocol},
};

const DATE: &str = "2026-01-02T03:04:05Z";

/// Sent, it is the golden file; and what is in the file is received as it.
fn hold<T>(golden: &mut Golden, name: &str, document: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let text = golden.json(name, document);
    let received: T = serde_json::from_str(&text).unwrap();
    assert_eq!(received, *document, "{name}");
}

fn listener() -> Listener {
    Listener {
        protocol: Protocol::Tcp,
        address: [10, 0, 0, 100].into(),
        port: 80,
        backend_port: Some(8080),
    }
}

fn udp_listener() -> Listener {
    Listener {
        protocol: Protocol::Udp,
        address: "fd00::100".parse().unwrap(),
        port: 53,
        backend_port: None,
    }
}

fn new_backend() -> NewBackend {
    NewBackend {
        id: Some("web-1".to_owned()),
        address: [10, 0, 1, 11].into(),
        weight: 5,
    }
}

fn attributes() -> Attributes {
    Attributes {
        connection_draining: ConnectionDraining {
            enabled: true,
            timeout: 300,
        },
        idle_timeout: 350,
        close_rate: 100,
        nat_source: "client".to_owned(),
    }
}

fn attributes_patch() -> AttributesPatch {
    AttributesPatch {
        connection_draining: Some(ConnectionDrainingPatch {
            enabled: Some(false),
            timeout: Some(60),
        }),
        idle_timeout: Some(600),
        close_rate: Some(0),
        nat_source: Some("ebb".to_owned()),
    }
}

fn health_check() -> HealthCheck {
    HealthCheck {
        target: "HTTPS:8443/ping".to_owned(),
        interval: 10,
        timeout: Some(5),
        unhealthy_threshold: 2,
        healthy_threshold: 3,
        verify_certificate: true,
        server_name: Some("www.example.com".to_owned()),
    }
}

fn drain(outcome: Option<DrainOutcome>) -> Drain {
    Drain {
        started: DATE.to_owned(),
        timeout: 300,
        seconds_left: 120,
        flows_at_start: 12,
        flows_left: 7,
        outcome,
    }
}

fn backend() -> Backend {
    Backend {
        id: "web-1".to_owned(),
        address: [10, 0, 1, 11].into(),
        weight: 5,
        state: State::InService,
        reason_code: "N/A".to_owned(),
        description: "N/A".to_owned(),
        registration: "registered".to_owned(),
        health: "healthy".to_owned(),
        health_by_hand: true,
        last_check: Some(LastCheck {
            time: DATE.to_owned(),
            took_us: 1234,
            error: Some("connection refused".to_owned()),
        }),
        takes_new: true,
        flows: 3,
        next_hop: Some(NextHop {
            interface: "eth1".to_owned(),
            mac: "02:00:00:00:00:11".to_owned(),
        }),
        next_hop_error: None,
        drain: None,
        counters: BackendCounters {
            packets_in: 1,
            bytes_in: 2,
            packets_out: 3,
            bytes_out: 4,
            opened: 5,
            closed: 2,
            untracked: 6,
        },
    }
}

fn draining_backend() -> Backend {
    Backend {
        id: "web-2".to_owned(),
        state: State::OutOfService,
        registration: "draining".to_owned(),
        health_by_hand: false,
        last_check: None,
        takes_new: false,
        next_hop: None,
        next_hop_error: Some("10.0.1.12 does not answer".to_owned()),
        drain: Some(drain(Some(DrainOutcome::Cut { flows: 7 }))),
        ..backend()
    }
}

fn load_balancer() -> LoadBalancer {
    LoadBalancer {
        name: "web".to_owned(),
        mode: Mode::Nat,
        listeners: vec![listener(), udp_listener()],
        attributes: attributes(),
        health_check: Some(health_check()),
        backends: vec![backend(), draining_backend()],
        created: DATE.to_owned(),
        deleting: false,
        elb: json!({ "tags": { "team": "web" } }),
    }
}

fn bare_load_balancer(mode: Mode) -> LoadBalancer {
    LoadBalancer {
        name: mode.name().to_owned(),
        mode,
        listeners: Vec::new(),
        health_check: None,
        backends: Vec::new(),
        deleting: true,
        elb: serde_json::Value::Null,
        ..load_balancer()
    }
}

#[test]
fn a_request_is_understood_as_it_always_was() {
    let mut golden = Golden::of("wire/golden/requests");
    let all = &mut golden;
    let new = NewLoadBalancer {
        name: "web".to_owned(),
        mode: Mode::Ipip,
        listeners: vec![listener(), udp_listener()],
        backends: vec![new_backend()],
        attributes: attributes_patch(),
        health_check: Some(health_check()),
        // Never on the wire.
        elb: serde_json::Value::Null,
    };
    hold(all, "load_balancer", &new);
    hold(all, "backend", &new_backend());
    let backends = vec![new_backend()];
    hold(all, "backends", &NewBackends { backends });
    hold(all, "attributes", &attributes_patch());
    let health_check = Some(health_check());
    hold(all, "health_check", &HealthCheckSetting { health_check });
    let timeout = Some(60);
    hold(all, "deregister", &Deregister { timeout, now: true });
    let healths = [
        HealthByHand::Healthy,
        HealthByHand::Unhealthy,
        HealthByHand::Auto,
    ];
    hold(all, "healths", &healths.map(|health| SetHealth { health }));
    let sorts = [FlowSort::Age, FlowSort::Idle, FlowSort::Bytes];
    hold(all, "flow_sorts", &sorts);
    let apply = Apply {
        document: "[[load_balancer]]\nname = \"web\"\n".to_owned(),
        source: Some("/etc/ebb/ebb.toml".to_owned()),
        dry_run: true,
    };
    hold(all, "apply", &apply);
    golden.held_whole();
}

#[test]
fn what_a_request_leaves_out_has_the_meaning_that_it_always_had() {
    let new: NewLoadBalancer = serde_json::from_value(json!({
        "name": "web", "mode": "dsr",
        "listeners": [{ "protocol": "udp", "address": "10.0.0.100", "port": 53 }],
        "backends": [{ "address": "10.0.1.11" }],
        "health_check": { "target": "TCP:80" }
    }))
    .unwrap();
    assert_eq!(
        new,
        NewLoadBalancer {
            name: "web".to_owned(),
            mode: Mode::Dsr,
            listeners: vec![Listener {
                address: [10, 0, 0, 100].into(),
                ..udp_listener()
            }],
            backends: vec![NewBackend {
                id: None,
                address: [10, 0, 1, 11].into(),
                weight: 1,
            }],
            attributes: AttributesPatch {
                connection_draining: None,
                idle_timeout: None,
                close_rate: None,
                nat_source: None,
            },
            health_check: Some(HealthCheck {
                target: "TCP:80".to_owned(),
                interval: 30,
                timeout: None,
                unhealthy_threshold: 2,
                healthy_threshold: 10,
                verify_certificate: false,
                server_name: None,
            }),
            elb: serde_json::Value::Null,
        }
    );
    let apply: Apply = serde_json::from_value(json!({ "document": "" })).unwrap();
    assert_eq!((apply.source, apply.dry_run), (None, false));
    let how: Deregister = serde_json::from_value(json!({})).unwrap();
    assert_eq!((how.timeout, how.now), (None, false));
}

#[test]
fn an_answer_is_sent_as_it_always_was() {
    let mut golden = Golden::of("wire/golden/answers");
    let all = &mut golden;
    hold(all, "load_balancer", &load_balancer());
    let load_balancers = Mode::ALL.map(bare_load_balancer).to_vec();
    hold(all, "load_balancers", &LoadBalancers { load_balancers });
    hold(all, "backend", &backend());
    let unknown = Backend {
        state: State::Unknown,
        drain: Some(drain(None)),
        ..draining_backend()
    };
    let cancelled = Backend {
        drain: Some(drain(Some(DrainOutcome::Cancelled))),
        ..draining_backend()
    };
    let ended = Backend {
        drain: Some(drain(Some(DrainOutcome::Ended))),
        ..draining_backend()
    };
    let backends = vec![draining_backend(), unknown, cancelled, ended];
    hold(all, "backends", &Backends { backends });
    hold(all, "attributes", &attributes());
    let none = HealthCheckSetting { health_check: None };
    hold(all, "no_health_check", &none);
    let deleted = Deleted {
        name: "web".to_owned(),
        backends: vec!["web-1".to_owned()],
        flows: 3,
        gone: false,
    };
    hold(all, "deleted", &deleted);
    let flow = |protocol| Flow {
        protocol,
        client: "192.0.2.7:40000".to_owned(),
        vip: "10.0.0.100:80".to_owned(),
        backend: "web-1".to_owned(),
        state: "established".to_owned(),
        age_seconds: 12.5,
        idle_seconds: 0.25,
        bytes: 4096,
    };
    let flows = Flows {
        flows: vec![flow(Protocol::Tcp), flow(Protocol::Udp)],
        total: 17,
    };
    hold(all, "flows", &flows);
    let status = Status {
        version: "0.2.0".to_owned(),
        pid: 4711,
        started: DATE.to_owned(),
        uptime_seconds: 60,
        interfaces: vec![InterfaceStatus {
            name: "eth0".to_owned(),
            xdp: "driver".to_owned(),
            hook: "xdp".to_owned(),
        }],
        tables: vec![Table {
            name: "backends".to_owned(),
            used: 2,
            limit: 16_384,
        }],
        nat_ports: vec![NatPorts {
            source: "10.0.1.1".to_owned(),
            target: "10.0.1.11:8080".to_owned(),
            protocol: "tcp".to_owned(),
            used: 3,
            limit: 31_744,
        }],
        load_balancers: 1,
        backends: BackendTally {
            in_service: 1,
            out_of_service: 2,
            draining: 3,
        },
        flows: 3,
        verdicts: BTreeMap::from([("forwarded".to_owned(), 10)]),
        warnings: vec!["eth1 is not there".to_owned()],
    };
    hold(all, "status", &status);
    let actions = [
        StepAction::Add,
        StepAction::Change,
        StepAction::Drain,
        StepAction::Remove,
    ];
    let steps = actions.map(|action| Step {
        action,
        load_balancer: "web".to_owned(),
        subject: Some("backend web-1".to_owned()),
        detail: Some("weight 1 → 5".to_owned()),
    });
    let applied = Applied {
        dry_run: true,
        steps: steps.to_vec(),
    };
    hold(all, "applied", &applied);
    let error = Error {
        error: ErrorBody {
            code: "no_such_load_balancer".to_owned(),
            message: "there is no load balancer web".to_owned(),
            hint: Some("`ebb lb list` shows them".to_owned()),
        },
    };
    hold(all, "error", &error);
    golden.held_whole();
}

/// One of each kind of event, with everything in it.
fn happenings() -> Vec<What> {
    vec![
        What::LoadBalancerCreated,
        What::LoadBalancerDeleting,
        What::LoadBalancerDeleted,
        What::ListenerAdded {
            listener: "tcp 10.0.0.100:80".to_owned(),
        },
        What::ListenerRemoved {
            listener: "tcp 10.0.0.100:80".to_owned(),
        },
        What::ElbRecordChanged {
            changed: vec!["tags".to_owned()],
        },
        What::AttributesChanged {
            from: attributes(),
            to: attributes(),
        },
        What::HealthCheckChanged {
            from: None,
            to: Some(health_check()),
        },
        What::CheckPassed,
        What::CheckFailed {
            reason: "connection refused".to_owned(),
        },
        What::Registered,
        What::WeightChanged { from: 1, to: 5 },
        What::InService,
        What::OutOfService {
            reason: "Instance has failed".to_owned(),
        },
        What::DrainStarted {
            timeout: 300,
            flows: 12,
        },
        What::DrainProgress {
            flows_left: 7,
            seconds_left: 120,
        },
        What::DrainDeadlineMoved { timeout: 60 },
        What::DrainCutting { flows: 7 },
        What::DrainEnded {
            outcome: DrainOutcome::Cut { flows: 7 },
        },
        What::FlowsCut { flows: 7 },
        What::Deregistered,
        What::NextHopKnown {
            interface: "eth1".to_owned(),
            mac: "02:00:00:00:00:11".to_owned(),
        },
        What::NextHopLost {
            reason: "no route".to_owned(),
        },
        What::BooksDiffer {
            counted: 3,
            found: 2,
        },
        What::VipMissing {
            address: "10.0.0.100".to_owned(),
        },
        What::VipContested {
            address: "10.0.0.100".to_owned(),
            mac: "02:00:00:00:00:0b".to_owned(),
        },
        What::VipPutBack {
            address: "10.0.0.100".to_owned(),
            interface: Some("eth0".to_owned()),
        },
    ]
}

#[test]
fn an_event_is_told_as_it_always_was() {
    let events = happenings()
        .into_iter()
        .zip(1..)
        .map(|(what, number)| Event {
            number,
            time: DATE.to_owned(),
            by: "uid 0 by the socket".to_owned(),
            load_balancer: "web".to_owned(),
            backend: (number > 9).then(|| "web-1".to_owned()),
            what,
        });
    let events = Events {
        events: events.collect(),
    };
    let names: Vec<_> = events
        .events
        .iter()
        .map(|event| event.what.name())
        .collect();
    assert_eq!(names, event::NAMES, "one of each");
    let mut golden = Golden::of("wire/golden/events");
    hold(&mut golden, "events", &events);
    golden.held_whole();
}
