//! By which names this host is asked. Whoever made a name of its own lead here
//! (DNS rebinding) asks by that name, and whoever signed a request for another
//! host named that one.

use std::net::{IpAddr, SocketAddr};

use crate::config::HostName;

/// The names of a door.
#[derive(Debug, Clone, Default)]
pub(super) struct Names(Vec<HostName>);

impl Names {
    pub(super) fn new(names: Vec<HostName>) -> Self {
        Self(names)
    }

    /// Whether a connection to `local` may be asked as `host`: a configured
    /// name, the very address, or, on loopback, any name of loopback with any
    /// port, for that is what the near end of a tunnel is called.
    pub(super) fn include(&self, host: &str, local: SocketAddr) -> bool {
        let Some(asked) = HostName::parse(host) else {
            return false;
        };
        if self.0.iter().any(|ours| ours.includes(&asked)) {
            return true;
        }
        let local_ip = local.ip().to_canonical();
        let address = asked.name().parse::<IpAddr>().ok();
        if local_ip.is_loopback() {
            let is_loopback = address.is_some_and(|address| address.to_canonical().is_loopback());
            return is_loopback || asked.name() == "localhost";
        }
        address.is_some_and(|address| address.to_canonical() == local_ip)
            && asked.port().unwrap_or(HTTP) == local.port()
    }
}

/// Where no port is named.
const HTTP: u16 = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Names {
        let names = names.iter().map(|name| HostName::parse(name).unwrap());
        Names(names.collect())
    }

    #[test]
    fn on_loopback_its_names_are_ours_and_no_others() {
        let local = "127.0.0.1:8089".parse().unwrap();
        for ours in [
            "127.0.0.1:8089",
            "[::1]:8089",
            "localhost",
            "LocalHost:9000",
        ] {
            assert!(names(&[]).include(ours, local), "{ours}");
        }
        for other in [
            "evil.example:8089",
            "localhost.evil.example",
            "192.0.2.1:8089",
            "",
            ":80",
            "localhost:99999",
        ] {
            assert!(!names(&[]).include(other, local), "{other}");
        }
    }

    #[test]
    fn elsewhere_it_is_the_very_address() {
        let local = "192.0.2.1:8089".parse().unwrap();
        assert!(names(&[]).include("192.0.2.1:8089", local));
        for other in [
            "192.0.2.1",
            "192.0.2.1:80",
            "192.0.2.2:8089",
            "localhost:8089",
        ] {
            assert!(!names(&[]).include(other, local), "{other}");
        }
        let local = "192.0.2.1:80".parse().unwrap();
        assert!(names(&[]).include("192.0.2.1", local));
        let local = "[::ffff:192.0.2.1]:80".parse().unwrap();
        assert!(names(&[]).include("192.0.2.1", local));
        let local = "[2001:db8::1]:8089".parse().unwrap();
        assert!(names(&[]).include("[2001:db8:0::1]:8089", local));
    }

    #[test]
    fn a_configured_name_is_ours_with_its_port_or_with_any() {
        let local = "192.0.2.1:8089".parse().unwrap();
        let ours = names(&["elb.example.com", "lb.example.com:8443"]);
        for host in [
            "elb.example.com",
            "ELB.example.com.:443",
            "lb.example.com:8443",
        ] {
            assert!(ours.include(host, local), "{host}");
        }
        for host in ["lb.example.com", "lb.example.com:8089", "x.elb.example.com"] {
            assert!(!ours.include(host, local), "{host}");
        }
    }
}
