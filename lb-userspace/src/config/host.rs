//! What of the host a configuration must fit.

use std::{fs, io};

use crate::netlink::Netlink;

/// The host, as far as a configuration is checked against it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Host {
    pub interfaces: Vec<HostInterface>,
    /// Whether one that is not there, or is down, will do: it may come.
    pub interfaces_may_come: bool,
    /// The ports that the host's own connections use.
    pub local_ports: Option<(u16, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterface {
    pub name: String,
    pub up: bool,
    pub loopback: bool,
}

impl Host {
    /// Asks the kernel, about the network namespace that this thread is in.
    ///
    /// # Errors
    /// When the kernel does not answer.
    pub fn read() -> io::Result<Self> {
        let links = Netlink::open()?.links()?;
        let interfaces = links
            .into_iter()
            .map(|link| HostInterface {
                name: link.name,
                up: link.up,
                loopback: link.loopback,
            })
            .collect();
        let local_ports = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
            .ok()
            .and_then(|range| {
                let mut ports = range.split_whitespace().map(str::parse);
                Some((ports.next()?.ok()?, ports.next()?.ok()?))
            });
        Ok(Self {
            interfaces,
            interfaces_may_come: false,
            local_ports,
        })
    }

    /// Whether ebb can attach to the interface, now or when it comes.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn interface(&self, name: &str) -> Result<(), (String, Option<String>)> {
        let Some(interface) = self.interfaces.iter().find(|i| i.name == name) else {
            if self.interfaces_may_come {
                return Ok(());
            }
            let names: Vec<&str> = self
                .interfaces
                .iter()
                .filter(|interface| !interface.loopback)
                .map(|interface| interface.name.as_str())
                .collect();
            let shown: String = name.chars().take(64).collect();
            let message = format!("there is no interface {shown:?}");
            let hint = if names.is_empty() {
                "the host has only loopback".to_owned()
            } else {
                format!("the interfaces are {}", names.join(", "))
            };
            return Err((message, Some(hint)));
        };
        if interface.loopback {
            let message = format!("interface {name:?} is loopback, which no client is behind");
            return Err((message, None));
        }
        if !interface.up && !self.interfaces_may_come {
            let message = format!("interface {name:?} is down");
            return Err((message, Some(format!("ip link set {name} up"))));
        }
        Ok(())
    }
}
