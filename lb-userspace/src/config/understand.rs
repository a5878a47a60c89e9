//! From the settings as written to those that the agent can run with.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    diagnostic::{At, Findings},
    document::{Purpose, address, one_of},
    elb::elb_api,
    hook::hooks,
    host::Host,
    settings::{Nat, Settings, Tables, XdpMode},
    written::{Written, WrittenNat, WrittenTables},
};

pub(super) fn settings(
    written: Written,
    purpose: Purpose,
    host: Option<&Host>,
    findings: &mut Findings<'_>,
) -> Option<Settings> {
    let named_elsewhere = purpose == Purpose::AgentOn;
    let interfaces = match written.interfaces {
        _ if named_elsewhere => Vec::new(),
        Some(interfaces) => self::interfaces(interfaces, host, findings),
        None if purpose == Purpose::Agent => {
            findings.add(
                &(0..0),
                "`interfaces` is missing",
                Some(
                    "name those that clients and backends are reached by: interfaces = [\"eth0\"]"
                        .to_owned(),
                ),
            );
            Vec::new()
        }
        None => Vec::new(),
    };
    let settings = Settings {
        manage_vips: written.manage_vips.is_some_and(|at| at.value),
        socket: path(written.socket, "socket", "/run/ebb/ebb.sock", findings),
        state_dir: path(written.state_dir, "state_dir", "/var/lib/ebb", findings),
        bpffs_dir: path(written.bpffs_dir, "bpffs_dir", "/sys/fs/bpf/ebb", findings),
        xdp_mode: written
            .xdp_mode
            .and_then(|at| {
                let modes = [
                    ("auto", XdpMode::Auto),
                    ("driver", XdpMode::Driver),
                    ("generic", XdpMode::Generic),
                ];
                one_of(&at, "an xdp_mode", &modes, findings)
            })
            .unwrap_or_default(),
        kernel_log: written.kernel_log.is_some_and(|at| at.value),
        tables: tables(&written.tables, findings),
        nat: nat(written.nat, host, findings),
        elb_api: written
            .elb_api
            .and_then(|section| elb_api(section, findings)),
        metrics: written
            .metrics_address
            .and_then(|at| metrics(&at, findings)),
        hooks: hooks(written.hooks, findings),
        interfaces,
    };
    (named_elsewhere || !settings.interfaces.is_empty()).then_some(settings)
}

fn metrics(written: &At<String>, findings: &mut Findings<'_>) -> Option<SocketAddr> {
    let address = written.value.parse().ok();
    if address.is_none() {
        findings.add(
            &written.span,
            "`address` of [metrics] is an address and a port",
            Some("as in \"127.0.0.1:9180\"".to_owned()),
        );
    }
    address
}

fn interfaces(
    written: At<Vec<At<String>>>,
    host: Option<&Host>,
    findings: &mut Findings<'_>,
) -> Vec<String> {
    if written.value.is_empty() {
        let hint = "name those that clients and backends are reached by".to_owned();
        findings.add(&written.span, "`interfaces` is empty", Some(hint));
    }
    let mut names: Vec<String> = Vec::new();
    for At { value: name, span } in written.value {
        if names.contains(&name) {
            findings.add(&span, format!("interface {name:?} is named twice"), None);
            continue;
        }
        if let Some(host) = host
            && let Err((message, hint)) = host.interface(&name)
        {
            findings.add(&span, message, hint);
        }
        names.push(name);
    }
    names
}

fn path(
    written: Option<At<String>>,
    key: &str,
    default: &str,
    findings: &mut Findings<'_>,
) -> PathBuf {
    let Some(At { value, span }) = written else {
        return default.into();
    };
    let path = PathBuf::from(value);
    if !path.is_absolute() {
        findings.add(&span, format!("`{key}` must be an absolute path"), None);
    }
    path
}

fn tables(written: &WrittenTables, findings: &mut Findings<'_>) -> Tables {
    let default = Tables::default();
    let mut size = |written: &Option<At<i64>>, key: &str, default: u32| {
        let Some(At { value, span }) = written else {
            return default;
        };
        match u32::try_from(*value) {
            Ok(size) if (1024..=1 << 24).contains(&size) => size,
            _ => {
                let message = format!("`{key}` is 1024 to {}, not {value}", 1 << 24);
                findings.add(span, message, None);
                default
            }
        }
    };
    let flows = size(&written.flows, "flows", default.flows);
    let half_open = size(&written.half_open, "half_open", default.half_open);
    let maglev = match &written.maglev {
        None => default.maglev,
        Some(At { value, span }) => match u32::try_from(*value) {
            Ok(slots) if (101..=default.maglev).contains(&slots) && is_prime(slots) => slots,
            _ => {
                let message = format!("`maglev` is a prime from 101 to 65537, not {value}");
                let hint = "251, 1021, 4093, 16381 and 65537 are primes".to_owned();
                findings.add(span, message, Some(hint));
                default.maglev
            }
        },
    };
    Tables {
        flows,
        half_open,
        maglev,
    }
}

fn is_prime(n: u32) -> bool {
    n >= 2
        && (2..)
            .take_while(|d| d * d <= n)
            .all(|d| !n.is_multiple_of(d))
}

fn nat(written: WrittenNat, host: Option<&Host>, findings: &mut Findings<'_>) -> Nat {
    let mut pool = Vec::new();
    if let Some(At { value: list, span }) = written.pool {
        if list.is_empty() {
            let hint = "leave it out to use the address of the interface that leads to the backend";
            findings.add(&span, "the nat pool is empty", Some(hint.to_owned()));
        }
        if list.len() > lb_common::abi::config::MAX_NAT_POOL as usize {
            let most = lb_common::abi::config::MAX_NAT_POOL;
            let message = format!("the nat pool has more than {most} addresses");
            findings.add(&span, message, None);
        }
        for At { value: text, span } in list {
            let Some(address) = address(&text, &span, "an address of the nat pool", findings)
            else {
                continue;
            };
            if pool.contains(&address) {
                let message = format!("{address} is in the nat pool twice");
                findings.add(&span, message, None);
            } else {
                pool.push(address);
            }
        }
    }
    let ports = written.ports.and_then(|At { value, span }| {
        let range = value.split_once('-').and_then(|(first, last)| {
            let first: u16 = first.trim().parse().ok()?;
            let last: u16 = last.trim().parse().ok()?;
            (1..=last).contains(&first).then_some((first, last))
        });
        if range.is_none() {
            let message = "`ports` is written like \"1024-32767\", from 1 to 65535";
            findings.add(&span, message, None);
        }
        if let (Some((first, last)), Some((host_first, host_last))) =
            (range, host.and_then(|host| host.local_ports))
            && first <= host_last
            && host_first <= last
        {
            let message =
                format!("`ports` {first}-{last} overlaps the host's own, {host_first}-{host_last}");
            let hint = "move one of them; the host's is net.ipv4.ip_local_port_range".to_owned();
            findings.add(&span, message, Some(hint));
        }
        range
    });
    Nat { pool, ports }
}
