//! Every key of the configuration, by `golden/every-key.toml`: what it is called
//! and what it means.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    time::Duration,
};

use super::{diagnostic::Findings, written::*, *};
use crate::model::{
    Arrivals, AskedCheck, AttributesSpec, BackendId, BackendSpec, Declaration, Dscp, HookChoice,
    LbName, LbSpec, ListenerKey, Mode, NatSource, OnUnhealthy, Protocol, TableSizes, TunnelSource,
    UdpSettings, checked,
};

const EVERY_KEY: &str = include_str!("golden/every-key.toml");

fn parse(text: &str) -> Result<Document, Vec<Diagnostic>> {
    Document::parse("every-key.toml", text, Purpose::Agent, None)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name(text: &str) -> LbName {
    LbName::try_from(text.to_owned()).unwrap()
}

fn id(text: &str) -> BackendId {
    BackendId::try_from(text.to_owned()).unwrap()
}

fn keys(id: &str) -> AccessKeys {
    AccessKeys::from([(id.to_owned(), Secret::from("secret".to_owned()))])
}

fn settings(vip_pool: VipPool) -> Settings {
    Settings {
        interfaces: vec!["eth0".to_owned(), "eth1".to_owned()],
        manage_vips: true,
        socket: "/run/there/ebb.sock".into(),
        state_dir: "/var/lib/there".into(),
        bpffs_dir: "/sys/fs/bpf/there".into(),
        hook: HookChoice::Tc,
        interface_hooks: BTreeMap::from([("eth1".to_owned(), HookChoice::Xdp)]),
        local_clients: false,
        kernel_log: true,
        tables: TableSizes {
            load_balancers: 257,
            backends: 20_000,
            listeners: 65_535,
            flows: 1 << 20,
            half_open: 2048,
            maglev: 4093,
        },
        nat: Nat {
            pool: vec![ip("10.0.1.1"), ip("fd00:1::1")],
            pools: BTreeMap::from([("web".to_owned(), vec![ip("10.0.1.2")])]),
            ports: Some((1024, 32_767)),
        },
        ipip: Ipip {
            sources: vec![
                TunnelSource {
                    address: ip("10.200.0.0"),
                    bits: 16,
                },
                TunnelSource {
                    address: ip("fd00:e::"),
                    bits: 32,
                },
            ],
            dscp: Dscp::Fixed(10),
        },
        udp: UdpSettings {
            unreplied: Duration::from_secs(20),
            replied: Duration::from_secs(100),
            on_unhealthy: OnUnhealthy::Keep,
        },
        arrivals: Arrivals {
            macs: vec![[0, 0, 0x5E, 0, 1, 0x33]],
            least_mtu: 1000,
        },
        elb_api: Some(ElbApi {
            entrance: Entrance {
                listen: "10.0.0.1:8089".parse().unwrap(),
                names: vec![HostName::parse("elb.example.com").unwrap()],
                access_keys: keys("AKIDEXAMPLE"),
                access_keys_file: Some("/etc/there/keys.toml".into()),
            },
            vip_pool,
            instances: BTreeMap::from([(id("i-1"), ip("10.0.1.11"))]),
        }),
        metrics: Some("127.0.0.1:9180".parse().unwrap()),
        hooks: vec![
            Hook {
                name: "pager".to_owned(),
                events: BTreeSet::from(["in_service", "out_of_service"]),
                load_balancer: Some(name("web")),
                does: HookDoes::Run(vec!["/bin/page".to_owned(), "now".to_owned()]),
                timeout: Duration::from_secs(20),
                attempts: 7,
            },
            Hook {
                name: "chat".to_owned(),
                events: BTreeSet::from(["drain_ended"]),
                load_balancer: None,
                does: HookDoes::Post("https://hooks.example/ebb".parse().unwrap()),
                timeout: Duration::from_secs(10),
                attempts: 6,
            },
        ],
        console: Some(Entrance {
            listen: "10.0.0.1:8090".parse().unwrap(),
            names: vec![HostName::parse("ebb.example.com").unwrap()],
            access_keys: keys("anna"),
            access_keys_file: Some("/etc/there/people.toml".into()),
        }),
    }
}

fn declaration() -> Declaration {
    let listener = ListenerKey {
        protocol: Protocol::Tcp,
        address: ip("10.0.0.100"),
        port: 80,
    };
    let backend = BackendSpec {
        address: ip("10.0.1.11"),
        weight: checked(5).unwrap(),
    };
    let check = AskedCheck {
        target: "HTTPS:8443/ping".to_owned(),
        interval: 20,
        timeout: Some(4),
        unhealthy_threshold: 5,
        healthy_threshold: 3,
        verify_certificate: true,
        server_name: Some("www.example.com".to_owned()),
    };
    let spec = LbSpec {
        mode: Mode::Nat,
        listeners: BTreeMap::from([(listener, 8080)]),
        backends: BTreeMap::from([(id("web-1"), backend)]),
        attributes: AttributesSpec {
            draining: Some(true),
            drain_timeout: Some(checked(10).unwrap()),
            idle_timeout: Some(checked(60).unwrap()),
            close_rate: Some(100),
            nat_source: Some(NatSource::Client),
        },
        health_check: Some(check.try_into().unwrap()),
    };
    Declaration::from([(name("web"), spec)])
}

#[test]
fn every_key_means_what_it_always_meant() {
    let document = parse(EVERY_KEY).unwrap();
    let found = document.settings.unwrap();
    let pool = found.elb_api.as_ref().unwrap().vip_pool.clone();
    assert_eq!(pool.first_free(&BTreeSet::new()), Some(ip("10.0.0.100")));
    let taken: BTreeSet<_> = (100..109).map(|n| IpAddr::from([10, 0, 0, n])).collect();
    assert_eq!(pool.first_free(&taken), Some(ip("10.0.0.109")));
    assert_eq!(found, settings(pool));
    assert_eq!(document.declaration, declaration());
}

/// The patterns have no `..`: a new key does not compile before it is in the file.
#[test]
fn every_key_that_is_known_is_in_the_file() {
    let mut findings = Findings::new("every-key.toml", EVERY_KEY);
    let written = read(&mut findings).unwrap();
    assert_eq!(findings.into_result(), Ok(()));
    let Written {
        interfaces: Some(_),
        manage_vips: Some(_),
        socket: Some(_),
        state_dir: Some(_),
        bpffs_dir: Some(_),
        xdp_mode: Some(_),
        kernel_log: Some(_),
        tables:
            WrittenTables {
                load_balancers: Some(_),
                backends: Some(_),
                listeners: Some(_),
                flows: Some(_),
                half_open: Some(_),
                maglev: Some(_),
            },
        nat:
            WrittenNat {
                pool: Some(_),
                pools: _,
                ports: Some(_),
            },
        ipip: WrittenIpip {
            source: Some(_),
            dscp: Some(_),
        },
        udp:
            WrittenUdp {
                unreplied_timeout: Some(_),
                replied_timeout: Some(_),
                on_unhealthy: Some(_),
            },
        packets:
            WrittenPackets {
                hook: Some(_),
                interface_hooks: _,
                local_clients: Some(_),
                mac_addresses: Some(_),
                least_mtu: Some(_),
            },
        elb_api: Some(elb_api),
        metrics_address: Some(_),
        hooks,
        console: Some(console),
        load_balancers,
    } = &written
    else {
        panic!("{written:#?}");
    };
    let WrittenElbApi {
        entrance,
        vip_pool: Some(_),
        instances,
    } = &elb_api.value
    else {
        panic!("{elb_api:#?}");
    };
    assert_eq!(instances.len(), 1);
    for entrance in [entrance, &console.value] {
        let WrittenEntrance {
            listen: Some(_),
            names: Some(_),
            access_keys,
            access_keys_file: Some(_),
        } = entrance
        else {
            panic!("{entrance:#?}");
        };
        assert_eq!(access_keys.len(), 1);
    }
    // A hook either runs or posts.
    let WrittenHook {
        name: Some(_),
        events: Some(_),
        load_balancer: Some(_),
        command: Some(_),
        url: None,
        timeout: Some(_),
        attempts: Some(_),
    } = &hooks[0].value
    else {
        panic!("{hooks:#?}");
    };
    assert!(hooks[1].value.url.is_some());
    let WrittenLb {
        name: Some(_),
        mode: Some(_),
        listeners: Some(listeners),
        backends: Some(backends),
        attributes:
            WrittenAttributes {
                draining_enabled: Some(_),
                draining_timeout: Some(_),
                idle_timeout: Some(_),
                close_rate: Some(_),
                nat_source: Some(_),
            },
        health_check: Some(check),
    } = &load_balancers[0].value
    else {
        panic!("{load_balancers:#?}");
    };
    let WrittenListener {
        protocol: Some(_),
        address: Some(_),
        port: Some(_),
        backend_port: Some(_),
    } = &listeners.value[0].value
    else {
        panic!("{listeners:#?}");
    };
    let WrittenBackend {
        id: Some(_),
        address: Some(_),
        weight: Some(_),
    } = &backends.value[0].value
    else {
        panic!("{backends:#?}");
    };
    let WrittenHealthCheck {
        target: Some(_),
        interval: Some(_),
        timeout: Some(_),
        unhealthy_threshold: Some(_),
        healthy_threshold: Some(_),
        verify_certificate: Some(_),
        server_name: Some(_),
    } = &check.value
    else {
        panic!("{check:#?}");
    };
}
