//! A backend as typed: `[ID=]ADDRESS[@WEIGHT]`.

use std::{net::IpAddr, str::FromStr};

use crate::{model::WEIGHT, wire::NewBackend};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct BackendSpec {
    id: Option<String>,
    address: IpAddr,
    weight: u16,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum BackendSpecError {
    #[error(
        "\"{0}\" is not an IP address; a backend is web-1=10.0.1.11, or with a weight web-1=10.0.1.11@3"
    )]
    Address(String),
    #[error("a backend has no port of its own; the listener's BACKEND_PORT says which to use")]
    Port,
    #[error("\"{0}\" is not a weight from {least} to {most}", least = WEIGHT.start(), most = WEIGHT.end())]
    Weight(String),
    #[error("the id before \"=\" is empty; leave out both, and the address is the id")]
    EmptyId,
}

impl From<BackendSpec> for NewBackend {
    fn from(spec: BackendSpec) -> Self {
        Self {
            id: spec.id,
            address: spec.address,
            weight: spec.weight,
        }
    }
}

impl FromStr for BackendSpec {
    type Err = BackendSpecError;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        // An id may contain `=` and `@`, an address neither: look from the end.
        let (id, rest) = match typed.rsplit_once('=') {
            Some(("", _)) => return Err(BackendSpecError::EmptyId),
            Some((id, rest)) => (Some(id.to_owned()), rest),
            None => (None, typed),
        };
        let (address, weight) = match rest.rsplit_once('@') {
            Some((address, weight)) => (address, self::weight(weight)?),
            None => (rest, 1),
        };
        let bare = address
            .strip_prefix('[')
            .and_then(|a| a.strip_suffix(']'))
            .unwrap_or(address);
        let address = bare.parse().map_err(|_| {
            if address.parse::<std::net::SocketAddr>().is_ok() {
                BackendSpecError::Port
            } else {
                BackendSpecError::Address(address.to_owned())
            }
        })?;
        Ok(Self {
            id,
            address,
            weight,
        })
    }
}

fn weight(typed: &str) -> Result<u16, BackendSpecError> {
    typed
        .parse()
        .ok()
        .filter(|weight| WEIGHT.contains(weight))
        .ok_or_else(|| BackendSpecError::Weight(typed.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backends_as_people_type_them() {
        let parse = |typed: &str| {
            typed
                .parse::<BackendSpec>()
                .map(|s| (s.id, s.address.to_string(), s.weight))
        };
        let ok = |id: Option<&str>, address: &str, weight| {
            Ok((id.map(str::to_owned), address.to_owned(), weight))
        };
        assert_eq!(parse("10.0.1.11"), ok(None, "10.0.1.11", 1));
        assert_eq!(parse("10.0.1.11@7"), ok(None, "10.0.1.11", 7));
        assert_eq!(
            parse("web-1=10.0.1.11@7"),
            ok(Some("web-1"), "10.0.1.11", 7)
        );
        assert_eq!(parse("a@b=c=fd00::1@2"), ok(Some("a@b=c"), "fd00::1", 2));
        assert_eq!(parse("w=[fd00::1]"), ok(Some("w"), "fd00::1", 1));
    }

    #[test]
    fn a_wrong_backend_is_told_what_is_wrong_with_it() {
        use BackendSpecError as E;
        for (typed, error) in [
            ("", E::Address(String::new())),
            ("web-1", E::Address("web-1".to_owned())),
            ("web-1=", E::Address(String::new())),
            ("=10.0.1.11", E::EmptyId),
            ("web-1=10.0.1.11:8080", E::Port),
            ("web-1=[fd00::1]:8080", E::Port),
            ("web-1=10.0.1.11@0", E::Weight("0".to_owned())),
            ("web-1=10.0.1.11@1001", E::Weight("1001".to_owned())),
            ("web-1=10.0.1.11@", E::Weight(String::new())),
        ] {
            assert_eq!(typed.parse::<BackendSpec>(), Err(error), "{typed}");
        }
    }
}
