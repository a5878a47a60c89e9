//! Answers of an agent, for the tests of what is printed.

use crate::{
    model::{Hook, Mode, Protocol},
    wire::{
        Attributes, Backend, BackendCounters, BackendTally, ConnectionDraining, Drain, Flow, Flows,
        InterfaceStatus, Listener, LoadBalancer, NatPorts, NextHop, State, Status, Table,
    },
};

/// The text without its colours.
pub(super) fn plain(text: &str) -> String {
    anstream::adapter::strip_str(text).to_string()
}

const DATE: &str = "2026-01-02T03:04:05Z";

fn backend(n: u8) -> Backend {
    Backend {
        id: format!("web-{n}"),
        address: [10, 0, 1, 10 + n].into(),
        weight: 1,
        state: State::InService,
        reason_code: "N/A".to_owned(),
        description: "N/A".to_owned(),
        registration: "registered".to_owned(),
        health: "healthy".to_owned(),
        health_by_hand: false,
        takes_new: true,
        flows: 0,
        next_hop: Some(NextHop {
            interface: "eth1".to_owned(),
            mac: format!("02:00:00:00:00:0{n}"),
        }),
        next_hop_error: None,
        last_check: None,
        drain: None,
        counters: BackendCounters::default(),
    }
}

/// One backend of each kind.
pub(super) fn load_balancer() -> LoadBalancer {
    LoadBalancer {
        health_check: None,
        name: "web".to_owned(),
        mode: Mode::Nat,
        listeners: vec![
            Listener {
                protocol: Protocol::Tcp,
                address: [10, 0, 0, 100].into(),
                port: 80,
                backend_port: Some(8080),
            },
            Listener {
                protocol: Protocol::Udp,
                address: [0xfd00, 0, 0, 0, 0, 0, 0, 1].into(),
                port: 53,
                backend_port: None,
            },
        ],
        attributes: Attributes {
            connection_draining: ConnectionDraining {
                enabled: true,
                timeout: 300,
            },
            idle_timeout: 350,
            close_rate: 0,
            nat_source: "ebb".to_owned(),
        },
        backends: vec![
            Backend {
                description: "Instance deregistration currently in progress.".to_owned(),
                registration: "draining".to_owned(),
                takes_new: false,
                flows: 12,
                drain: Some(Drain {
                    started: DATE.to_owned(),
                    timeout: 300,
                    seconds_left: 272,
                    flows_at_start: 40,
                    flows_left: 12,
                    outcome: None,
                }),
                counters: BackendCounters {
                    packets_in: 12,
                    bytes_in: 1536,
                    packets_out: 900,
                    bytes_out: 1 << 20,
                    opened: 52,
                    closed: 40,
                    untracked: 0,
                },
                ..backend(1)
            },
            Backend {
                weight: 3,
                flows: 1_134,
                ..backend(2)
            },
            Backend {
                state: State::OutOfService,
                reason_code: "Instance".to_owned(),
                description: "Instance has failed at least the UnhealthyThreshold number of \
                              health checks consecutively."
                    .to_owned(),
                health: "unhealthy".to_owned(),
                health_by_hand: true,
                takes_new: false,
                ..backend(3)
            },
            Backend {
                takes_new: false,
                next_hop: None,
                next_hop_error: Some("no answer to ARP on eth1".to_owned()),
                ..backend(4)
            },
        ],
        created: DATE.to_owned(),
        deleting: false,
        elb: serde_json::Value::Null,
    }
}

pub(super) fn flows() -> Flows {
    let flow = |protocol, client: &str, vip: &str, backend: &str, state: &str| Flow {
        protocol,
        client: client.to_owned(),
        vip: vip.to_owned(),
        backend: backend.to_owned(),
        state: state.to_owned(),
        age_seconds: 75.4,
        idle_seconds: 0.2,
        bytes: 12 << 20,
    };
    Flows {
        flows: vec![
            flow(
                Protocol::Tcp,
                "192.0.2.7:40001",
                "10.0.0.100:80",
                "web-1",
                "established",
            ),
            Flow {
                age_seconds: 1.0,
                idle_seconds: 55.0,
                bytes: 120,
                ..flow(
                    Protocol::Udp,
                    "[2001:db8::1]:40002",
                    "[fd00::1]:53",
                    "web-2",
                    "replied",
                )
            },
        ],
        total: 2,
    }
}

pub(super) fn status() -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 42,
        started: DATE.to_owned(),
        uptime_seconds: 3_661,
        interfaces: [("eth0", Hook::Xdp), ("eth1", Hook::Tc)]
            .map(|(name, hook)| InterfaceStatus {
                name: name.to_owned(),
                xdp: hook.xdp().to_owned(),
                hook: hook.name().to_owned(),
            })
            .into(),
        tables: [
            ("load_balancers", 1, 1024),
            ("backends", 4, 16_384),
            ("listeners", 2, 4096),
            ("flows_ipv4", 2_292, 262_144),
            ("flows_ipv6", 0, 262_144),
        ]
        .map(|(name, used, limit)| Table {
            name: name.to_owned(),
            used,
            limit,
        })
        .into(),
        nat_ports: vec![NatPorts {
            source: "10.0.1.1".to_owned(),
            target: "10.0.1.11:8080".to_owned(),
            protocol: "tcp".to_owned(),
            used: 1_146,
            limit: 31_744,
        }],
        load_balancers: 1,
        backends: BackendTally {
            in_service: 2,
            out_of_service: 1,
            draining: 1,
        },
        flows: 1_146,
        verdicts: [("forward", 5_000), ("malformed", 0)]
            .map(|(verdict, packets)| (verdict.to_owned(), packets))
            .into(),
        warnings: vec!["eth2 is missing: its traffic is not balanced".to_owned()],
    }
}
