//! A name that a door is asked by: `elb.example.com`, `192.0.2.1:8089`.

use std::fmt;

/// As in a `Host` header: a name or an address, and maybe a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostName {
    /// In lower case, without brackets and without the root's dot.
    name: String,
    port: Option<u16>,
}

impl HostName {
    /// None for what is no host.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, port) = rest.split_once(']')?;
                address.parse::<std::net::Ipv6Addr>().ok()?;
                (address, port.strip_prefix(':'))
            }
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map(str::parse).transpose().ok()?;
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_one = !name.is_empty()
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte));
        is_one.then_some(Self { name, port })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    #[must_use]
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether it is the same name, and this one's port if it has one.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.name == other.name && self.port.is_none_or(|port| other.port == Some(port))
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, port } = self;
        if name.contains(':') {
            write!(f, "[{name}]")?;
        } else {
            f.write_str(name)?;
        }
        port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_and_maybe_a_port() {
        for (text, shown) in [
            ("elb.example.com", "elb.example.com"),
            ("ELB.Example.com.:443", "elb.example.com:443"),
            ("192.0.2.1:8089", "192.0.2.1:8089"),
            ("[2001:DB8::1]", "[2001:db8::1]"),
            ("[::1]:8089", "[::1]:8089"),
        ] {
            assert_eq!(HostName::parse(text).unwrap().to_string(), shown);
        }
        for text in [
            "", ":80", "a b", "a/b", "http://a", "a:b", "a:99999", "[::1", "[a]:1", "::1",
        ] {
            assert_eq!(HostName::parse(text), None, "{text}");
        }
    }
}
