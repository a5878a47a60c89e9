//! A listener, as typed and as shown: `tcp:10.0.0.100:80`.

use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use crate::{model::Protocol, wire::Listener};

/// A listener as typed: `tcp:10.0.0.100:80:8080`, `udp:[fd00::1]:53`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct ListenerSpec(pub(in crate::cli) Listener);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum ListenerSpecError {
    #[error("a listener begins with tcp: or udp:, for example tcp:10.0.0.100:80")]
    NoProtocol,
    #[error("\"{0}\" is not a supported protocol; use tcp or udp")]
    Protocol(String),
    #[error("an IPv6 address goes in brackets, for example tcp:[fd00::100]:80")]
    Brackets,
    #[error("\"{0}\" is not an IP address")]
    Address(String),
    #[error("the port is missing; an example is tcp:10.0.0.100:80")]
    NoPort,
    #[error("\"{0}\" is not a port; use 1 to 65535")]
    Port(String),
}

impl FromStr for ListenerSpec {
    type Err = ListenerSpecError;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let (protocol, rest) = typed.split_once(':').ok_or(ListenerSpecError::NoProtocol)?;
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            other if other.parse::<IpAddr>().is_ok() || other.starts_with('[') => {
                return Err(ListenerSpecError::NoProtocol);
            }
            _ => return Err(ListenerSpecError::Protocol(protocol.to_owned())),
        };
        let (address, ports) = if let Some(rest) = rest.strip_prefix('[') {
            let (address, ports) = rest.split_once(']').ok_or(ListenerSpecError::Brackets)?;
            let v6: Ipv6Addr = address
                .parse()
                .map_err(|_| ListenerSpecError::Address(address.to_owned()))?;
            (IpAddr::V6(v6), ports.strip_prefix(':').unwrap_or(ports))
        } else {
            let (address, ports) = rest.split_once(':').unwrap_or((rest, ""));
            match address.parse() {
                Ok(v4) => (IpAddr::V4(v4), ports),
                // Three ports are no listener, so many colons are IPv6.
                Err(_) if rest.matches(':').count() > 2 => {
                    return Err(ListenerSpecError::Brackets);
                }
                Err(_) => return Err(ListenerSpecError::Address(address.to_owned())),
            }
        };
        if ports.is_empty() {
            return Err(ListenerSpecError::NoPort);
        }
        let mut ports = ports.splitn(2, ':').map(port);
        let port = ports.next().unwrap_or(Err(ListenerSpecError::NoPort))?;
        let backend_port = ports.next().transpose()?;
        Ok(Self(Listener {
            protocol,
            address,
            port,
            backend_port,
        }))
    }
}

fn port(typed: &str) -> Result<u16, ListenerSpecError> {
    match typed.parse() {
        Ok(0) | Err(_) => Err(ListenerSpecError::Port(typed.to_owned())),
        Ok(port) => Ok(port),
    }
}

/// As it is typed for `lb create`: `tcp:10.0.0.100:80`, and where it leads.
pub(in crate::cli) fn shown(listener: &Listener) -> String {
    let Listener {
        address,
        port,
        backend_port,
        ..
    } = listener;
    let protocol = listener.protocol.name();
    let socket = SocketAddr::new(*address, *port);
    match backend_port {
        Some(to) if to != port => format!("{protocol}:{socket} -> {to}"),
        _ => format!("{protocol}:{socket}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_as_people_type_them() {
        let parse = |typed: &str| typed.parse::<ListenerSpec>().map(|spec| spec.0);
        let listener = |protocol, address: &str, port, backend_port| Listener {
            protocol,
            address: address.parse().unwrap(),
            port,
            backend_port,
        };
        assert_eq!(
            parse("tcp:10.0.0.100:80:8080"),
            Ok(listener(Protocol::Tcp, "10.0.0.100", 80, Some(8080)))
        );
        assert_eq!(
            parse("UDP:10.0.0.100:53"),
            Ok(listener(Protocol::Udp, "10.0.0.100", 53, None))
        );
        assert_eq!(
            parse("tcp:[fd00::1]:80:8080"),
            Ok(listener(Protocol::Tcp, "fd00::1", 80, Some(8080)))
        );
    }

    #[test]
    fn a_wrong_listener_is_told_what_is_wrong_with_it() {
        use ListenerSpecError as E;
        for (typed, error) in [
            ("80", E::NoProtocol),
            ("10.0.0.100:80", E::NoProtocol),
            ("[fd00::1]:80", E::NoProtocol),
            ("sctp:10.0.0.100:80", E::Protocol("sctp".to_owned())),
            ("tcp:web:80", E::Address("web".to_owned())),
            ("tcp:10.0.0:80", E::Address("10.0.0".to_owned())),
            ("tcp:fd00::1:80", E::Brackets),
            ("tcp:[fd00::1", E::Brackets),
            ("tcp:[10.0.0.1]:80", E::Address("10.0.0.1".to_owned())),
            ("tcp:10.0.0.100", E::NoPort),
            ("tcp:[fd00::1]", E::NoPort),
            ("tcp:10.0.0.100:", E::NoPort),
            ("tcp:10.0.0.100:0", E::Port("0".to_owned())),
            ("tcp:10.0.0.100:65536", E::Port("65536".to_owned())),
            ("tcp:10.0.0.100:80:http", E::Port("http".to_owned())),
            ("tcp:10.0.0.100:80:81:82", E::Port("81:82".to_owned())),
        ] {
            assert_eq!(typed.parse::<ListenerSpec>(), Err(error), "{typed}");
        }
    }
}
