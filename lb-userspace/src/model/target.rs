//! What a health check asks of a backend: `TCP:port`, `SSL:port`,
//! `HTTP:port/path` or `HTTPS:port/path`, with the Classic ELB's limits.

use std::{borrow::Cow, fmt, num::NonZeroU16, str::FromStr};

use crate::suggest::nearest;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

/// The longest path, in the Classic ELB's "16-bit characters".
pub const PATH_MAX: usize = 1024;

/// A target, as parsed. Written out, the protocol is in upper case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub ask: Ask,
    pub port: NonZeroU16,
}

/// What counts as an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// A TCP connection.
    Tcp,
    /// A TCP connection and a TLS handshake.
    Ssl,
    /// A GET of the path that is answered with 200.
    Http(Path),
    /// The same over TLS.
    Https(Path),
}

impl Ask {
    #[must_use]
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Ssl => "SSL",
            Self::Http(_) => "HTTP",
            Self::Https(_) => "HTTPS",
        }
    }

    /// Whether the backend is spoken to over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Ssl | Self::Https(_))
    }

    fn path(&self) -> Option<&Path> {
        match self {
            Self::Tcp | Self::Ssl => None,
            Self::Http(path) | Self::Https(path) => Some(path),
        }
    }
}

/// A path with its query, as written. It begins with a slash and has nothing in
/// it that could end the line it is sent in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path(String);

/// What a request line cannot hold as it is.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl Path {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As it is sent: ASCII. Escapes that were written already stay.
    #[must_use]
    pub fn encoded(&self) -> Cow<'_, str> {
        utf8_percent_encode(&self.0, ENCODED).into()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTarget {
    #[error(
        "health check target {given:?} has no protocol; write TCP:port, SSL:port, HTTP:port/path or HTTPS:port/path"
    )]
    NoProtocol { given: String },
    #[error("{given:?} is not a protocol for health checks; use TCP, SSL, HTTP or HTTPS{}", meant(.nearest.as_ref()))]
    Protocol {
        given: String,
        nearest: Option<&'static str>,
    },
    #[error("{given:?} is not a port for a health check target; use 1 to 65535")]
    Port { given: String },
    /// The Classic ELB's own words.
    #[error(
        "HealthCheck HTTP Target must specify a port followed by a path that begins with a slash. e.g. HTTP:80/ping/this/path"
    )]
    NoPath,
    #[error("a {protocol} health check has no path; leave it out, or use HTTP or HTTPS")]
    Path { protocol: &'static str },
    #[error(
        "the path of a health check target may have at most {PATH_MAX} characters, not {given}"
    )]
    PathLength { given: usize },
    #[error("the path of a health check target cannot contain {given:?}; percent-encode it")]
    PathCharacter { given: char },
}

fn meant(nearest: Option<&&'static str>) -> String {
    nearest.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Self, BadTarget> {
        let Some((protocol, rest)) = text.split_once(':') else {
            return Err(BadTarget::NoProtocol { given: short(text) });
        };
        let (port, path) = match rest.find('/') {
            Some(slash) => (&rest[..slash], Some(&rest[slash..])),
            None => (rest, None),
        };
        let asked: fn(Option<&str>) -> Result<Ask, BadTarget> =
            match protocol.to_ascii_uppercase().as_str() {
                "TCP" => |path| without(path, Ask::Tcp),
                "SSL" => |path| without(path, Ask::Ssl),
                "HTTP" => |path| with(path).map(Ask::Http),
                "HTTPS" => |path| with(path).map(Ask::Https),
                _ => {
                    return Err(BadTarget::Protocol {
                        given: short(protocol),
                        nearest: known(protocol),
                    });
                }
            };
        let ask = asked(path)?;
        if port.is_empty() && path.is_some() {
            return Err(BadTarget::NoPath);
        }
        Ok(Self {
            ask,
            port: parse_port(port)?,
        })
    }
}

fn known(protocol: &str) -> Option<&'static str> {
    let name = nearest(protocol, ["TCP", "SSL", "HTTP", "HTTPS"])?;
    ["TCP", "SSL", "HTTP", "HTTPS"]
        .into_iter()
        .find(|known| *known == name)
}

fn without(path: Option<&str>, ask: Ask) -> Result<Ask, BadTarget> {
    match path {
        None => Ok(ask),
        Some(_) => Err(BadTarget::Path {
            protocol: ask.protocol(),
        }),
    }
}

fn with(path: Option<&str>) -> Result<Path, BadTarget> {
    let path = path.ok_or(BadTarget::NoPath)?;
    let given = path.encode_utf16().count();
    if given > PATH_MAX {
        return Err(BadTarget::PathLength { given });
    }
    // A fragment is never sent; whoever wrote one meant the character.
    let bad = |c: &char| c.is_control() || c.is_whitespace() || *c == '#';
    match path.chars().find(bad) {
        Some(given) => Err(BadTarget::PathCharacter { given }),
        None => Ok(Path(path.to_owned())),
    }
}

fn parse_port(text: &str) -> Result<NonZeroU16, BadTarget> {
    // Not `parse` alone: it takes a plus sign.
    let digits = text.bytes().all(|c| c.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| BadTarget::Port { given: short(text) })
}

/// Enough to recognise what was written.
fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ask, port } = self;
        let path = ask.path().map_or("", Path::as_str);
        write!(f, "{}:{port}{path}", ask.protocol())
    }
}

#[cfg(test)]
mod tests;
