//! What the host is like, as far as ebb cares. What cannot be found out is
//! `None`, and no reason to stop looking.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::Group;

use super::service::ServiceFacts;
use crate::{
    bpffs,
    config::{Diagnostic, Document, Host, Purpose},
    model::HookChoice,
    netlink::Netlink,
};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// As in `6.1.0-18-amd64`.
    pub kernel: Option<String>,
    pub has_btf: bool,
    /// 0: the kernel interprets programs.
    pub jit: Option<u32>,
    pub bpffs_dir: PathBuf,
    pub bpffs_is_mounted: bool,
    /// The effective capabilities, as the kernel numbers them.
    pub capabilities: Option<u64>,
    pub state_dir: PathBuf,
    /// None: it can be made and written to, as far as permissions say.
    pub state_dir_problem: Option<String>,
    pub has_group: bool,
    pub config: PathBuf,
    /// Everything that is wrong with the configuration; none if there is no file.
    pub config_faults: Option<Vec<Diagnostic>>,
    pub uses_ipip: bool,
    /// Where packets are to be taken.
    pub hook: HookChoice,
    /// None: root does not ask, or there is no service.
    pub service: Option<ServiceFacts>,
    /// Those of the configuration, or every one that is no loopback.
    pub interfaces: Vec<InterfaceFacts>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InterfaceFacts {
    pub name: String,
    pub is_there: bool,
    pub up: bool,
    pub mtu: Option<u32>,
    pub driver: Option<String>,
    /// By ethtool's names; none where there is no ethtool.
    pub offloads: Option<Vec<(String, bool)>>,
    /// 0 off, 1 strict, 2 loose; the stricter of this one's and everybody's.
    pub rp_filter: Option<u32>,
}

impl Facts {
    /// Looks around; `config` is the agent's configuration file.
    #[must_use]
    pub fn gather(config: &Path, interfaces: &[String]) -> Self {
        let host = Host::read().ok();
        let text = fs::read_to_string(config).ok();
        let document = text.map(|text| {
            let name = config.display().to_string();
            let purpose = if interfaces.is_empty() {
                Purpose::Agent
            } else {
                Purpose::AgentOn
            };
            Document::for_agent(&name, &text, purpose, host.as_ref())
        });
        let (settings, uses_ipip, config_faults) = match document {
            Some(Ok((settings, document))) => {
                let ipip = document.declaration.values().any(|lb| lb.mode.tunnels());
                (Some(settings), ipip, Some(Vec::new()))
            }
            Some(Err(faults)) => (None, false, Some(faults)),
            None => (None, false, None),
        };
        let folder = |of: fn(&crate::config::Settings) -> &PathBuf, default: &str| {
            settings
                .as_ref()
                .map_or_else(|| PathBuf::from(default), |settings| of(settings).clone())
        };
        let bpffs_dir = folder(|settings| &settings.bpffs_dir, "/sys/fs/bpf/ebb");
        let state_dir = folder(|settings| &settings.state_dir, "/var/lib/ebb");
        let named = match &settings {
            _ if !interfaces.is_empty() => interfaces.to_vec(),
            Some(settings) => settings.interfaces.clone(),
            None => host
                .iter()
                .flat_map(|host| &host.interfaces)
                .filter(|interface| !interface.loopback)
                .map(|interface| interface.name.clone())
                .collect(),
        };
        let hook = settings.as_ref().map(|settings| settings.hook);
        let service = ServiceFacts::gather(config, settings.as_ref(), &state_dir, &bpffs_dir);
        Self {
            hook: hook.unwrap_or_default(),
            service,
            kernel: read("/proc/sys/kernel/osrelease"),
            has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            jit: number("/proc/sys/net/core/bpf_jit_enable"),
            bpffs_is_mounted: bpffs::holds(existing(&bpffs_dir)),
            bpffs_dir,
            capabilities: capabilities(),
            state_dir_problem: unwritable(&state_dir),
            state_dir,
            has_group: Group::from_name("ebb").is_ok_and(|group| group.is_some()),
            config: config.to_owned(),
            config_faults,
            uses_ipip,
            interfaces: named.iter().map(|name| interface(name)).collect(),
        }
    }
}

fn read(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn number(path: &str) -> Option<u32> {
    read(path)?.parse().ok()
}

/// The nearest folder that there is.
fn existing(path: &Path) -> &Path {
    let mut path = path;
    while !path.exists() {
        match path.parent() {
            Some(parent) => path = parent,
            None => break,
        }
    }
    path
}

fn unwritable(dir: &Path) -> Option<String> {
    rustix::fs::access(existing(dir), rustix::fs::Access::WRITE_OK)
        .err()
        .map(|error| std::io::Error::from(error).to_string())
}

fn capabilities() -> Option<u64> {
    let status = fs::read_to_string("/proc/thread-self/status").ok()?;
    let set = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn interface(name: &str) -> InterfaceFacts {
    let links = Netlink::open().and_then(|mut netlink| netlink.links());
    let link = links
        .ok()
        .and_then(|links| links.into_iter().find(|link| link.name == name));
    let conf = |whose: &str| number(&format!("/proc/sys/net/ipv4/conf/{whose}/rp_filter"));
    InterfaceFacts {
        name: name.to_owned(),
        is_there: link.is_some(),
        up: link.as_ref().is_some_and(|link| link.up),
        mtu: link.as_ref().map(|link| link.mtu),
        driver: ethtool("-i", name).and_then(|text| {
            text.lines()
                .find_map(|line| line.strip_prefix("driver: ").map(str::to_owned))
        }),
        offloads: ethtool("-k", name).map(|text| {
            text.lines()
                .filter_map(|line| line.split_once(": "))
                .map(|(key, value)| (key.trim().to_owned(), value.starts_with("on")))
                .collect()
        }),
        rp_filter: conf(name).max(conf("all")),
    }
}

/// What ethtool prints; nothing where there is none.
fn ethtool(option: &str, interface: &str) -> Option<String> {
    let mut found = None;
    for program in ["ethtool", "/usr/sbin/ethtool", "/sbin/ethtool"] {
        if let Ok(output) = Command::new(program).args([option, interface]).output() {
            found = output
                .status
                .success()
                .then(|| String::from_utf8_lossy(&output.stdout).into_owned());
            break;
        }
    }
    found
}
