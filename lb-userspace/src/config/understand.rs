//! From the settings as written to those that the agent can run with.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
    net::{IpAddr, SocketAddr},
    ops::RangeInclusive,
    path::PathBuf,
    time::Duration,
};

use lb_common::{
    abi::config::{FIRST_NAT_PORT, MAX_INTERFACES, MAX_MACS, MAX_NAT_POOL},
    limits::MOST_INDICES,
    maglev,
};

use super::{
    console::console,
    diagnostic::{At, Findings},
    elb::elb_api,
    hook::hooks,
    host::Host,
    places::{BPFFS_DIR, STATE_DIR},
    purpose::Purpose,
    settings::{Ipip, Nat, Settings},
    value::{address, one_of},
    written::{
        Written, WrittenDscp, WrittenIpip, WrittenNat, WrittenPackets, WrittenTables, WrittenUdp,
    },
};
use crate::model::{
    Arrivals, Counted, Declaration, Dscp, HookChoice, LbName, LbSpec, Mac, OnUnhealthy, Room,
    TableSizes, TunnelSource, UdpSettings,
};

pub(super) fn settings(
    mut written: Written,
    declaration: &Declaration,
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
                    "name the interfaces towards clients and backends: interfaces = [\"eth0\"]"
                        .to_owned(),
                ),
            );
            Vec::new()
        }
        None => Vec::new(),
    };
    let tables = tables(&written.tables, findings);
    if purpose != Purpose::Apply {
        room(&written.tables, &tables, declaration, findings);
    }
    let settings = Settings {
        manage_vips: written.manage_vips.is_some_and(|at| at.value),
        socket: path(written.socket, "socket", "/run/ebb/ebb.sock", findings),
        state_dir: path(written.state_dir, "state_dir", STATE_DIR, findings),
        bpffs_dir: path(written.bpffs_dir, "bpffs_dir", BPFFS_DIR, findings),
        hook: hook(written.xdp_mode, written.packets.hook.take(), findings),
        interface_hooks: interface_hooks(
            mem::take(&mut written.packets.interface_hooks),
            (!named_elsewhere).then_some(&interfaces),
            findings,
        ),
        local_clients: written
            .packets
            .local_clients
            .take()
            .is_none_or(|at| at.value),
        kernel_log: written.kernel_log.is_some_and(|at| at.value),
        tables,
        nat: nat(written.nat, declaration, host, findings),
        ipip: ipip(written.ipip, findings),
        udp: udp(&written.udp, findings),
        arrivals: arrivals(written.packets, findings),
        elb_api: written
            .elb_api
            .and_then(|section| elb_api(section, findings)),
        metrics: written
            .metrics_address
            .and_then(|at| metrics(&at, findings)),
        hooks: hooks(written.hooks, findings),
        console: written
            .console
            .and_then(|section| console(section, findings)),
        interfaces,
    };
    (named_elsewhere || !settings.interfaces.is_empty()).then_some(settings)
}

fn metrics(written: &At<String>, findings: &mut Findings<'_>) -> Option<SocketAddr> {
    let address = written.value.parse().ok();
    if address.is_none() {
        findings.add(
            &written.span,
            "`address` of [metrics] must be an address and a port",
            Some("for example \"127.0.0.1:9180\"".to_owned()),
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
        let hint = "name the interfaces towards clients and backends".to_owned();
        findings.add(&written.span, "`interfaces` is empty", Some(hint));
    }
    if written.value.len() > MAX_INTERFACES as usize {
        let message = format!("`interfaces` has more than {MAX_INTERFACES}");
        findings.add(&written.span, message, None);
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

fn tables(written: &WrittenTables, findings: &mut Findings<'_>) -> TableSizes {
    let default = TableSizes::default();
    let mut size = |written: &Option<At<i64>>, key: &str, allowed: RangeInclusive<u32>, default| {
        let Some(At { value, span }) = written else {
            return default;
        };
        match u32::try_from(*value) {
            Ok(size) if allowed.contains(&size) => size,
            _ => {
                let (least, most) = allowed.into_inner();
                let message = format!("`{key}` must be {least} to {most}, not {value}");
                findings.add(span, message, None);
                default
            }
        }
    };
    let mut counted = |written, key, default| size(written, key, 1..=MOST_INDICES, default);
    let load_balancers = counted(
        &written.load_balancers,
        "load_balancers",
        default.load_balancers,
    );
    let backends = counted(&written.backends, "backends", default.backends);
    let listeners = counted(&written.listeners, "listeners", default.listeners);
    let mut entries = |written, key, default| size(written, key, 1024..=1 << 24, default);
    let flows = entries(&written.flows, "flows", default.flows);
    let half_open = entries(&written.half_open, "half_open", default.half_open);
    let maglev = match &written.maglev {
        None => default.maglev,
        Some(At { value, span }) => match u32::try_from(*value) {
            Ok(slots) if (101..=maglev::MAX_SLOTS as u32).contains(&slots) && is_prime(slots) => {
                slots
            }
            _ => {
                let message = format!("`maglev` must be a prime from 101 to 65537, not {value}");
                let hint = "251, 1021, 4093, 16381 and 65537 are primes".to_owned();
                findings.add(span, message, Some(hint));
                default.maglev
            }
        },
    };
    TableSizes {
        load_balancers,
        backends,
        listeners,
        flows,
        half_open,
        maglev,
    }
}

/// Whether what is declared has room in the tables.
fn room(
    written: &WrittenTables,
    sizes: &TableSizes,
    declaration: &Declaration,
    findings: &mut Findings<'_>,
) {
    for what in Counted::ALL {
        let (key, used) = match what {
            Counted::LoadBalancers => (&written.load_balancers, declaration.len()),
            Counted::Backends => (
                &written.backends,
                declaration.values().map(|lb| lb.backends.len()).sum(),
            ),
            Counted::Listeners => (
                &written.listeners,
                declaration.values().map(|lb| lb.listeners.len()).sum(),
            ),
        };
        let room = Room {
            what,
            used: u32::try_from(used).unwrap_or(u32::MAX),
            limit: sizes.limit(what),
        };
        if let Err(full) = room.check() {
            let span = key.as_ref().map_or(0..0, |at| at.span.clone());
            findings.add(&span, full.to_string(), Some(full.hint()));
        }
    }
}

fn is_prime(n: u32) -> bool {
    n >= 2
        && (2..)
            .take_while(|d| d * d <= n)
            .all(|d| !n.is_multiple_of(d))
}

fn nat(
    written: WrittenNat,
    declaration: &Declaration,
    host: Option<&Host>,
    findings: &mut Findings<'_>,
) -> Nat {
    let mut known = BTreeSet::new();
    let mut add = |At { value: list, span }: At<Vec<At<String>>>, findings: &mut Findings<'_>| {
        if list.is_empty() {
            let hint = "leave it out to use the address of the interface that leads to the backend";
            findings.add(&span, "the nat pool is empty", Some(hint.to_owned()));
        }
        let mut pool = Vec::new();
        for At { value: text, span } in list {
            let Some(address) = address(&text, &span, "an address of the nat pool", findings)
            else {
                continue;
            };
            if let Some(lb) = owner(declaration, address) {
                let message =
                    format!("{address} is the address of a listener of load balancer \"{lb}\"");
                let hint = "what comes back to an address of the nat pool is for open flows, \
                            and what comes to a listener is for new ones: give the pool another";
                findings.add(&span, message, Some(hint.to_owned()));
            } else if known.insert(address) {
                pool.push(address);
            } else {
                let message = format!("{address} is twice in the nat pool");
                findings.add(&span, message, None);
            }
        }
        if known.len() > MAX_NAT_POOL as usize {
            let message = format!("the nat pool has more than {MAX_NAT_POOL} addresses");
            findings.add(&span, message, None);
        }
        pool
    };
    let pool = written.pool.map_or_else(Vec::new, |at| add(at, findings));
    let mut pools = BTreeMap::new();
    for (lb, at) in written.pools {
        if let Some(name) = findings.keep(&at.span, LbName::try_from(lb)) {
            pools.insert(name.to_string(), add(at, findings));
        }
    }
    let ports = written.ports.and_then(|At { value, span }| {
        let range = value.split_once('-').and_then(|(first, last)| {
            let first: u16 = first.trim().parse().ok()?;
            let last: u16 = last.trim().parse().ok()?;
            (FIRST_NAT_PORT..=last)
                .contains(&first)
                .then_some((first, last))
        });
        if range.is_none() {
            let message = format!(
                "`ports` must be a range like \"1024-32767\", from {FIRST_NAT_PORT} to 65535"
            );
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
    Nat { pool, pools, ports }
}

/// The load balancer that listens at an address.
fn owner(declaration: &Declaration, address: IpAddr) -> Option<&LbName> {
    let listens = |lb: &LbSpec| lb.listeners.keys().any(|key| key.address == address);
    let mut owners = declaration.iter().filter(|(_, lb)| listens(lb));
    owners.next().map(|(name, _)| name)
}

fn ipip(written: WrittenIpip, findings: &mut Findings<'_>) -> Ipip {
    let mut sources: Vec<TunnelSource> = Vec::new();
    let list = written.source.map_or_else(Vec::new, |at| at.value);
    for At { value: text, span } in list {
        let Some(prefix) = tunnel_prefix(&text) else {
            let shown: String = text.chars().take(64).collect();
            let message = format!("{shown:?} is not a prefix that tunnels can come from");
            let hint = "written like \"10.200.0.0/16\" or \"fd00:e::/96\": the bits behind the \
                        prefix, at most 32, vary with the flow and are zero here";
            findings.add(&span, message, Some(hint.to_owned()));
            continue;
        };
        let same_family =
            |other: &TunnelSource| other.address.is_ipv6() == prefix.address.is_ipv6();
        if sources.iter().any(same_family) {
            let message = "`source` has two prefixes of one address family";
            findings.add(&span, message, None);
        } else {
            sources.push(prefix);
        }
    }
    let dscp = written.dscp.map_or(Dscp::Copy, |At { value, span }| {
        let fixed = match &value {
            WrittenDscp::Word(word) if word == "copy" => return Dscp::Copy,
            WrittenDscp::Word(_) => None,
            WrittenDscp::Number(number) => u8::try_from(*number).ok(),
        };
        if let Some(dscp) = fixed.filter(|dscp| *dscp <= Dscp::MOST) {
            return Dscp::Fixed(dscp);
        }
        let message = format!("`dscp` is \"copy\", or a number from 0 to {}", Dscp::MOST);
        let hint = "\"copy\" gives the outer header of a tunnel the DSCP of the packet inside";
        findings.add(&span, message, Some(hint.to_owned()));
        Dscp::Copy
    });
    Ipip { sources, dscp }
}

/// `address/length` without bits behind its length; an address alone does not
/// vary.
fn tunnel_prefix(text: &str) -> Option<TunnelSource> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let (width, value) = match address {
        IpAddr::V4(v4) => (32, u128::from(v4.to_bits())),
        IpAddr::V6(v6) => (128, v6.to_bits()),
    };
    let bits = width - length.unwrap_or(width).min(width);
    let is_prefix = length.is_none_or(|length| length <= width) && bits <= 32;
    let host_bits = value & ((1_u128 << bits.min(32)) - 1);
    (is_prefix && host_bits == 0 && !address.is_unspecified() && !address.is_multicast())
        .then_some(TunnelSource { address, bits })
}

fn udp(written: &WrittenUdp, findings: &mut Findings<'_>) -> UdpSettings {
    let default = UdpSettings::default();
    let mut seconds = |written: &Option<At<i64>>, key: &str, default: Duration| {
        let Some(At { value, span }) = written else {
            return default;
        };
        match u64::try_from(*value) {
            Ok(seconds) if (1..=4000).contains(&seconds) => Duration::from_secs(seconds),
            _ => {
                let message = format!("`{key}` must be 1 to 4000 seconds, not {value}");
                findings.add(span, message, None);
                default
            }
        }
    };
    UdpSettings {
        unreplied: seconds(
            &written.unreplied_timeout,
            "unreplied_timeout",
            default.unreplied,
        ),
        replied: seconds(&written.replied_timeout, "replied_timeout", default.replied),
        on_unhealthy: on_unhealthy(written.on_unhealthy.as_ref(), findings),
    }
}

fn on_unhealthy(written: Option<&At<String>>, findings: &mut Findings<'_>) -> OnUnhealthy {
    let Some(At { value, span }) = written else {
        return OnUnhealthy::default();
    };
    match value.as_str() {
        "close" => OnUnhealthy::Close,
        "keep" => OnUnhealthy::Keep,
        other => {
            let message = format!("`on_unhealthy` must be \"close\" or \"keep\", not \"{other}\"");
            findings.add(span, message, None);
            OnUnhealthy::default()
        }
    }
}

/// The hook, by its name or by what was said before there was TC.
fn hook(
    xdp_mode: Option<At<String>>,
    hook: Option<At<String>>,
    findings: &mut Findings<'_>,
) -> HookChoice {
    let before = xdp_mode.and_then(|at| {
        if at.value == "generic" {
            let hint = "packets that no driver takes are taken at TC: [packets] hook = \"tc\"";
            let message = "there is no generic XDP any more".to_owned();
            findings.add(&at.span, message, Some(hint.to_owned()));
            return None;
        }
        let modes = [("auto", HookChoice::Auto), ("driver", HookChoice::Xdp)];
        one_of(&at, "an xdp_mode", &modes, findings)
    });
    let now = hook.and_then(|at| hook_named(&at, findings));
    now.or(before).unwrap_or_default()
}

fn hook_named(at: &At<String>, findings: &mut Findings<'_>) -> Option<HookChoice> {
    let hooks = [
        ("auto", HookChoice::Auto),
        ("xdp", HookChoice::Xdp),
        ("tc", HookChoice::Tc),
    ];
    one_of(at, "a hook", &hooks, findings)
}

/// The hooks of single interfaces, which are among `interfaces` where those are known.
fn interface_hooks(
    written: Vec<(String, At<String>)>,
    interfaces: Option<&Vec<String>>,
    findings: &mut Findings<'_>,
) -> BTreeMap<String, HookChoice> {
    let mut hooks = BTreeMap::new();
    for (interface, at) in written {
        if interfaces.is_some_and(|interfaces| !interfaces.contains(&interface)) {
            let shown: String = interface.chars().take(64).collect();
            let message = format!("{shown:?} is not among `interfaces`");
            findings.add(&at.span, message, None);
        } else if let Some(hook) = hook_named(&at, findings) {
            hooks.insert(interface, hook);
        }
    }
    hooks
}

fn arrivals(written: WrittenPackets, findings: &mut Findings<'_>) -> Arrivals {
    let mut arrivals = Arrivals::default();
    if let Some(At { value: list, span }) = written.mac_addresses {
        if list.len() > MAX_MACS {
            let message = format!("`mac_addresses` has more than {MAX_MACS}");
            findings.add(&span, message, None);
        }
        for At { value: text, span } in list {
            let Some(mac) = mac(&text) else {
                let shown: String = text.chars().take(64).collect();
                let message = format!("{shown:?} is not the MAC address of one host");
                let hint = "written like \"00:00:5e:00:01:33\"".to_owned();
                findings.add(&span, message, Some(hint));
                continue;
            };
            arrivals.macs.push(mac);
        }
    }
    if let Some(At { value, span }) = written.least_mtu {
        match u16::try_from(value) {
            // What every host takes at least (RFC 791), and what Ethernet has.
            Ok(mtu) if (576..=1500).contains(&mtu) => arrivals.least_mtu = mtu,
            _ => {
                let message = format!("`least_mtu` is 576 to 1500, not {value}");
                findings.add(&span, message, None);
            }
        }
    }
    arrivals
}

/// The MAC address of one host: not of a group, nor zero.
fn mac(text: &str) -> Option<Mac> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts
            .next()
            .filter(|part| part.len() == 2 && !part.starts_with('+'))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && mac[0] & 1 == 0 && mac != [0; 6]).then_some(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnels_prefix_has_its_varying_bits_behind_it() {
        let read = |text| tunnel_prefix(text).map(|p| (p.address.to_string(), p.bits));
        let of = |address: &str, bits| Some((address.to_owned(), bits));
        assert_eq!(read("10.200.0.0/16"), of("10.200.0.0", 16));
        assert_eq!(read("10.200.0.1"), of("10.200.0.1", 0));
        assert_eq!(read("fd00:e::/96"), of("fd00:e::", 32));
        for bad in [
            "10.200.0.1/16",
            "10.0.0.0/33",
            "fd00::/95",
            "0.0.0.0/0",
            "ff02::/112",
            "10.0.0.0/",
            "ten",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_mac_address_is_of_one_host() {
        assert_eq!(mac("00:00:5e:00:01:33"), Some([0, 0, 0x5E, 0, 1, 0x33]));
        assert_eq!(
            mac("AA:bb:5e:00:01:33"),
            Some([0xAA, 0xBB, 0x5E, 0, 1, 0x33])
        );
        for bad in [
            "",
            "00:00:00:00:00:00",
            "01:00:5e:00:01:33",
            "ff:ff:ff:ff:ff:ff",
            "00:00:5e:00:01",
            "00:00:5e:00:01:33:44",
            "00:00:5e:00:01:+3",
            "0:0:5e:0:1:33",
            "00-00-5e-00-01-33",
        ] {
            assert_eq!(mac(bad), None, "{bad}");
        }
    }
}
