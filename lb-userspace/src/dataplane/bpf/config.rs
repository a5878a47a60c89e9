//! What the packet path is told once, at start.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use lb_common::{
    abi::config::{FIRST_NAT_PORT, MAX_INTERFACES, MAX_MACS, MAX_NAT_POOL, Settings},
    wire,
};

use crate::model::{Arrivals, Dscp, HookChoice, TableSizes, TunnelSource, UdpSettings};

/// What [`super::Kernel::start`] needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The interfaces that clients and backends are reached by.
    pub interfaces: Vec<String>,
    pub hook: HookChoice,
    /// Other ones, for interfaces by their names.
    pub interface_hooks: BTreeMap<String, HookChoice>,
    /// Serve clients on this host itself, which come by its loopback device.
    pub local_clients: bool,
    /// A directory on a BPF file system, for maps and links that outlive the
    /// agent.
    pub bpffs_dir: PathBuf,
    pub tables: TableSizes,
    /// Source addresses for nat; empty: the address of the interface that leads
    /// to the backend.
    pub nat_pool: Vec<IpAddr>,
    /// Other ones for load balancers, by their names.
    pub nat_pools: BTreeMap<String, Vec<IpAddr>>,
    /// Ports for nat; `None`: the widest range that the host does not use itself.
    pub nat_ports: Option<RangeInclusive<u16>>,
    /// Outer sources for ipip, at most one per address family; without one, the
    /// address of the interface that leads to the backend.
    pub tunnel_sources: Vec<TunnelSource>,
    pub tunnel_dscp: Dscp,
    /// Have the kernel program log what should not have happened.
    pub log: bool,
    pub udp: UdpSettings,
    pub arrivals: Arrivals,
}

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("no interface is configured; name those that lead to clients and backends")]
    NoInterfaces,
    #[error("{0} interfaces are configured; ebb serves at most {MAX_INTERFACES}")]
    TooManyInterfaces(usize),
    #[error("{0} MAC addresses are configured; the kernel's settings hold {MAX_MACS}")]
    TooManyMacs(usize),
    #[error(
        "the nat pools have {count} {family} addresses; the kernel's table holds {MAX_NAT_POOL}"
    )]
    PoolTooLarge { family: &'static str, count: usize },
    #[error("the nat ports {first}-{last} are not a range; give at least one port from 1024 on")]
    Ports { first: u16, last: u16 },
    #[error(
        "the host uses all ports from 1024 on itself (net.ipv4.ip_local_port_range is \
         {first}-{last}), and nat has none left; narrow that range, or name [nat] ports"
    )]
    NoPortsLeft { first: u16, last: u16 },
    #[error("cannot read {}: {source}", path.display())]
    Sysctl { path: PathBuf, source: io::Error },
    #[error(
        "{address} with {bits} varying bits cannot be a tunnel source; at most 32 bits can vary"
    )]
    TunnelSource { address: IpAddr, bits: u8 },
}

const LOCAL_PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";

impl Config {
    /// The settings for the kernel program, with `nat_seed` as its secret.
    pub(super) fn settings(&self, nat_seed: u32) -> Result<Settings, ConfigError> {
        if self.interfaces.is_empty() {
            return Err(ConfigError::NoInterfaces);
        }
        if self.interfaces.len() > MAX_INTERFACES as usize {
            return Err(ConfigError::TooManyInterfaces(self.interfaces.len()));
        }
        let pool = |v6: bool| -> Result<(), ConfigError> {
            let pools = self.nat_pools.values().chain([&self.nat_pool]).flatten();
            let count = pools.filter(|a| a.is_ipv6() == v6).count();
            if count > MAX_NAT_POOL as usize {
                let family = if v6 { "IPv6" } else { "IPv4" };
                return Err(ConfigError::PoolTooLarge { family, count });
            }
            Ok(())
        };
        pool(false)?;
        pool(true)?;
        let bits = |v6: bool| -> Result<u8, ConfigError> {
            match self.tunnel_source(v6) {
                Some(TunnelSource { address, bits }) if bits > 32 => {
                    Err(ConfigError::TunnelSource { address, bits })
                }
                source => Ok(source.map_or(0, |s| s.bits)),
            }
        };
        let ports = match &self.nat_ports {
            Some(ports) => ports.clone(),
            None => free_ports(local_port_range()?)?,
        };
        let (first, last) = (*ports.start(), *ports.end());
        if first < FIRST_NAT_PORT || first > last {
            return Err(ConfigError::Ports { first, last });
        }
        Ok(Settings {
            nat_port_first: first,
            nat_port_last: last,
            tunnel_bits_v4: bits(false)?,
            tunnel_bits_v6: bits(true)?,
            least_mtu_v4: self.arrivals.least_mtu,
            nat_seed,
            macs: self.macs()?,
        })
    }

    fn macs(&self) -> Result<[wire::Mac; MAX_MACS], ConfigError> {
        let configured = &self.arrivals.macs;
        let mut macs = [wire::Mac::default(); MAX_MACS];
        if configured.len() > MAX_MACS {
            return Err(ConfigError::TooManyMacs(configured.len()));
        }
        for (to, mac) in macs.iter_mut().zip(configured) {
            *to = super::mac::words(*mac);
        }
        Ok(macs)
    }

    pub(super) fn tunnel_source(&self, v6: bool) -> Option<TunnelSource> {
        let mut sources = self.tunnel_sources.iter();
        sources.find(|s| s.address.is_ipv6() == v6).copied()
    }
}

/// The ports that the host gives to its own connections.
fn local_port_range() -> Result<RangeInclusive<u16>, ConfigError> {
    let path = Path::new(LOCAL_PORT_RANGE);
    let failed = |source| ConfigError::Sysctl {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Ok(first..=last),
        _ => Err(failed(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not two port numbers: {}", text.trim()),
        ))),
    }
}

/// The widest range from [`FIRST_NAT_PORT`] on that the host does not use.
fn free_ports(hosts: RangeInclusive<u16>) -> Result<RangeInclusive<u16>, ConfigError> {
    let (first, last) = hosts.into_inner();
    let below = (first > FIRST_NAT_PORT).then(|| FIRST_NAT_PORT..=first - 1);
    let above = (last < u16::MAX).then(|| FIRST_NAT_PORT.max(last + 1)..=u16::MAX);
    [below, above]
        .into_iter()
        .flatten()
        .max_by_key(|r| r.end() - r.start())
        .ok_or(ConfigError::NoPortsLeft { first, last })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn nat_takes_the_widest_range_that_the_host_leaves() {
        assert_eq!(free_ports(32_768..=60_999).unwrap(), 1024..=32_767);
        assert_eq!(free_ports(1024..=9999).unwrap(), 10_000..=65_535);
        assert_eq!(free_ports(2000..=40_000).unwrap(), 40_001..=65_535);
        assert_eq!(free_ports(1..=1000).unwrap(), 1024..=65_535);
        assert!(free_ports(1024..=65_535).is_err());
        assert!(free_ports(0..=65_535).is_err());
    }

    fn config() -> Config {
        Config {
            interfaces: vec!["eth0".to_owned()],
            hook: HookChoice::Auto,
            interface_hooks: BTreeMap::new(),
            local_clients: true,
            bpffs_dir: PathBuf::from("/sys/fs/bpf/ebb"),
            tables: TableSizes::default(),
            nat_pool: Vec::new(),
            nat_pools: BTreeMap::new(),
            nat_ports: Some(2000..=3000),
            tunnel_sources: Vec::new(),
            tunnel_dscp: Dscp::Copy,
            log: false,
            udp: UdpSettings {
                unreplied: Duration::from_secs(30),
                replied: Duration::from_secs(180),
                ..UdpSettings::default()
            },
            arrivals: Arrivals::default(),
        }
    }

    #[test]
    fn settings_are_refused_when_they_cannot_hold() {
        assert!(config().settings(1).is_ok());
        let with = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            config.settings(1)
        };
        assert!(matches!(
            with(|c| c.interfaces.clear()),
            Err(ConfigError::NoInterfaces)
        ));
        assert!(matches!(
            with(|c| c.nat_ports = Some(80..=3000)),
            Err(ConfigError::Ports { .. })
        ));
        #[expect(clippy::reversed_empty_ranges, reason = "that is the mistake tested")]
        let reversed = with(|c| c.nat_ports = Some(3000..=2000));
        assert!(matches!(reversed, Err(ConfigError::Ports { .. })));
        let pools: [fn(&mut Config); 2] = [
            |c| c.nat_pool = vec![[10, 0, 0, 1].into(); 257],
            |c| {
                c.nat_pool = vec![[10, 0, 0, 1].into(); 200];
                c.nat_pools = [("web".to_owned(), vec![[10, 0, 0, 2].into(); 57])].into();
            },
        ];
        for pools in pools {
            assert!(matches!(
                with(pools),
                Err(ConfigError::PoolTooLarge { count: 257, .. })
            ));
        }
    }

    #[test]
    fn pools_and_tunnel_sources_are_told_by_family() {
        let mut config = config();
        config.nat_pool = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        config.tunnel_sources = vec![TunnelSource {
            address: "fd00:1::".parse().unwrap(),
            bits: 16,
        }];
        let settings = config.settings(7).unwrap();
        assert_eq!((settings.tunnel_bits_v4, settings.tunnel_bits_v6), (0, 16));
        assert_eq!(settings.nat_seed, 7);
    }
}
