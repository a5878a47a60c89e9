//! What a host's kernel says of its TCP connections.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result};

use super::host::Host;

/// One line of `ss`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Socket {
    /// As `ss` writes it: `ESTAB`, `TIME-WAIT`, …
    pub state: String,
    pub local: SocketAddr,
    pub peer: SocketAddr,
}

impl Host {
    /// Its TCP connections, in any state but listening.
    pub fn connections(&self) -> Result<Vec<Socket>> {
        let printed = self.run("ss", &["-Htan", "state", "connected"])?;
        printed
            .lines()
            .map(|line| parse(line).with_context(|| format!("ss printed {line:?}")))
            .collect()
    }

    /// Whether it has a connection between these two, in any state.
    pub fn has_connection(&self, local: SocketAddr, peer: SocketAddr) -> Result<bool> {
        let all = self.connections()?;
        Ok(all
            .iter()
            .any(|socket| socket.local == local && socket.peer == peer))
    }
}

fn parse(line: &str) -> Option<Socket> {
    let mut fields = line.split_whitespace();
    let state = fields.next()?.to_owned();
    let mut addresses = fields.skip(2).map(address);
    Some(Socket {
        state,
        local: addresses.next()??,
        peer: addresses.next()??,
    })
}

/// `10.0.0.1:80`, `10.0.0.1%lo:80`, `[::ffff:10.0.0.1]:80`.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = host.split('%').next()?;
    let host: IpAddr = host.parse().ok()?;
    Some(SocketAddr::new(host.to_canonical(), port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_ss_are_read() {
        let socket = parse("ESTAB 0      0  [::ffff:10.0.1.11]:80  10.0.0.2:41000 ").unwrap();
        assert_eq!(socket.state, "ESTAB");
        assert_eq!(socket.local, "10.0.1.11:80".parse().unwrap());
        assert_eq!(socket.peer, "10.0.0.2:41000".parse().unwrap());

        let socket = parse("TIME-WAIT 0 0 [fd00:a::2%eth0]:5 [fd00:a::100]:80").unwrap();
        assert_eq!(socket.local, "[fd00:a::2]:5".parse().unwrap());
        assert!(parse("what").is_none());
    }
}
