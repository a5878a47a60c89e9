//! Values that were checked once, at the border, and have types ever after.

use std::{fmt, net::IpAddr, ops::RangeInclusive, sync::Arc, time::Duration};

use super::invalid::{DRAIN_TIMEOUT, ID_MAX, IDLE_TIMEOUT, Invalid, NAME_MAX, WEIGHT};

macro_rules! text {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        /// Cheap to clone.
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.0.as_ref().to_owned()
            }
        }

        /// So that maps keyed by it can be asked with a `str`.
        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text! {
    /// The name of a load balancer.
    LbName
}

impl TryFrom<String> for LbName {
    type Error = Invalid;

    fn try_from(name: String) -> Result<Self, Invalid> {
        let inner = |c: u8| c.is_ascii_alphanumeric() || c == b'-';
        let good = (1..=NAME_MAX).contains(&name.len())
            && name.bytes().all(inner)
            && !name.starts_with('-')
            && !name.ends_with('-');
        if good {
            Ok(Self(name.into()))
        } else {
            Err(Invalid::Name {
                name: shortened(&name),
            })
        }
    }
}

text! {
    /// The id of a backend within its load balancer.
    BackendId
}

impl TryFrom<String> for BackendId {
    type Error = Invalid;

    fn try_from(id: String) -> Result<Self, Invalid> {
        let good = |c: u8| c.is_ascii_alphanumeric() || b"._:@=-".contains(&c);
        if (1..=ID_MAX).contains(&id.len()) && id.bytes().all(good) {
            Ok(Self(id.into()))
        } else {
            Err(Invalid::Id { id: shortened(&id) })
        }
    }
}

impl From<IpAddr> for BackendId {
    /// The id of a backend that was given none.
    fn from(address: IpAddr) -> Self {
        Self(address.to_string().into())
    }
}

/// What is long enough to be told apart is long enough for an error.
fn shortened(text: &str) -> String {
    const KEPT: usize = 80;
    match text.char_indices().nth(KEPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty) in $range:expr, else $variant:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($inner);

        impl $name {
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl TryFrom<i64> for $name {
            type Error = Invalid;

            fn try_from(given: i64) -> Result<Self, Invalid> {
                const RANGE: RangeInclusive<$inner> = $range;
                match <$inner>::try_from(given) {
                    Ok(value) if RANGE.contains(&value) => Ok(Self(value)),
                    _ => Err(Invalid::$variant { given }),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number! {
    /// How long a drain may take, in seconds.
    DrainTimeout(u32) in DRAIN_TIMEOUT, else DrainTimeout
}

number! {
    /// How long an established flow may be silent for, in seconds.
    IdleTimeout(u32) in IDLE_TIMEOUT, else IdleTimeout
}

number! {
    /// A backend's share of the new flows, relative to the others'.
    Weight(u16) in WEIGHT, else Weight
}

impl DrainTimeout {
    /// The Classic ELB's.
    pub const DEFAULT: Self = Self(300);

    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

impl IdleTimeout {
    pub const DEFAULT: Self = Self(350);

    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

impl Weight {
    pub const DEFAULT: Self = Self(1);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_classic_elb() {
        let name = |text: &str| LbName::try_from(text.to_owned());
        for good in ["a", "web", "Web-1", "0", &"x".repeat(32)] {
            assert!(name(good).is_ok(), "{good}");
        }
        for bad in ["", "-web", "web-", "we b", "wéb", "a/b", &"x".repeat(33)] {
            assert!(name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_is_an_id() {
        for id in [
            "10.0.0.5",
            "fd00::5",
            "10.0.0.5:8080",
            "web1=10.0.0.5",
            "a@b",
        ] {
            assert!(BackendId::try_from(id.to_owned()).is_ok(), "{id}");
        }
        for bad in ["", "a b", "a/b", "ü", &"x".repeat(65)] {
            assert!(BackendId::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_drain_takes_one_second_to_an_hour() {
        for good in [1, 300, 3600] {
            assert!(DrainTimeout::try_from(good).is_ok());
        }
        for bad in [0, 3601, -1, i64::MAX] {
            let error = DrainTimeout::try_from(bad).unwrap_err();
            assert_eq!(error.code(), "bad_timeout");
            assert!(error.to_string().contains("1 to 3600 seconds"), "{error}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_a_megabyte() {
        let error = LbName::try_from("é".repeat(1 << 20)).unwrap_err();
        assert!(error.to_string().len() < 500);
    }
}
