//! What each attribute of a load balancer is called and what it takes: the one
//! table of them. The command line reads it; the configuration file, the admin
//! API, the Query API and docs/attributes.md are tested against it.

use std::{fmt, ops::RangeInclusive};

use super::{
    attributes::Attributes,
    invalid::{CLOSE_RATE, DRAIN_TIMEOUT, IDLE_TIMEOUT},
    nat_source::NatSource,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    DrainingEnabled,
    DrainingTimeout,
    IdleTimeout,
    CloseRate,
    NatSource,
}

/// What an attribute may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Takes {
    Flag,
    Number(RangeInclusive<u32>, Unit),
    OneOf(&'static [&'static str]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    /// Of which 0 is no limit.
    FlowsPerSecond,
}

/// What an attribute is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    Flag(bool),
    Number(u32),
    Word(&'static str),
}

/// A row of the table.
struct Row {
    command_line: &'static str,
    file: &'static str,
    query_api: Option<&'static str>,
    takes: Takes,
    help: &'static str,
}

impl Attribute {
    /// In the order in which they are shown.
    pub const ALL: [Self; 5] = [
        Self::DrainingEnabled,
        Self::DrainingTimeout,
        Self::IdleTimeout,
        Self::CloseRate,
        Self::NatSource,
    ];

    fn row(self) -> Row {
        match self {
            Self::DrainingEnabled => Row {
                command_line: "connection-draining.enabled",
                file: "connection_draining.enabled",
                query_api: Some("ConnectionDraining.Enabled"),
                takes: Takes::Flag,
                help: "when false, deregistered and unhealthy backends lose their flows at once",
            },
            Self::DrainingTimeout => Row {
                command_line: "connection-draining.timeout",
                file: "connection_draining.timeout",
                query_api: Some("ConnectionDraining.Timeout"),
                takes: Takes::Number(DRAIN_TIMEOUT, Unit::Seconds),
                help: "how long a drain may take; applies to drains that start later",
            },
            Self::IdleTimeout => Row {
                command_line: "idle-timeout",
                file: "idle_timeout",
                query_api: Some("ConnectionSettings.IdleTimeout"),
                takes: Takes::Number(IDLE_TIMEOUT, Unit::Seconds),
                help: "how long an established TCP flow may be silent before both ends are reset",
            },
            Self::CloseRate => Row {
                command_line: "close-rate",
                file: "close_rate",
                query_api: None,
                takes: Takes::Number(CLOSE_RATE, Unit::FlowsPerSecond),
                help: "at most how many flows are closed by force in a second",
            },
            Self::NatSource => Row {
                command_line: "nat-source",
                file: "nat_source",
                query_api: None,
                takes: Takes::OneOf(&NatSource::NAMES),
                help: "whose address backends see in nat; for the client's, they answer by ebb",
            },
        }
    }

    /// What it is called on the command line.
    #[must_use]
    pub fn command_line(self) -> &'static str {
        self.row().command_line
    }

    /// What it is called in the configuration file and in the admin API's JSON.
    #[must_use]
    pub fn file(self) -> &'static str {
        self.row().file
    }

    /// What it is called in the Query API, which does not have them all.
    #[must_use]
    pub fn query_api(self) -> Option<&'static str> {
        self.row().query_api
    }

    #[must_use]
    pub fn takes(self) -> Takes {
        self.row().takes
    }

    /// What it does, in a line.
    #[must_use]
    pub fn help(self) -> &'static str {
        self.row().help
    }

    /// What it is unless something is asked for.
    #[must_use]
    pub fn default(self) -> Value {
        self.of(&Attributes::default())
    }

    /// What it is among these.
    #[must_use]
    pub fn of(self, attributes: &Attributes) -> Value {
        match self {
            Self::DrainingEnabled => Value::Flag(attributes.draining),
            Self::DrainingTimeout => Value::Number(attributes.drain_timeout.get()),
            Self::IdleTimeout => Value::Number(attributes.idle_timeout.get()),
            Self::CloseRate => Value::Number(attributes.close_rate),
            Self::NatSource => Value::Word(attributes.nat_source.name()),
        }
    }
}

impl Value {
    #[must_use]
    pub fn flag(self) -> Option<bool> {
        match self {
            Self::Flag(flag) => Some(flag),
            Self::Number(_) | Self::Word(_) => None,
        }
    }

    #[must_use]
    pub fn number(self) -> Option<u32> {
        match self {
            Self::Number(number) => Some(number),
            Self::Flag(_) | Self::Word(_) => None,
        }
    }

    #[must_use]
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Word(word) => Some(word),
            Self::Flag(_) | Self::Number(_) => None,
        }
    }
}

impl fmt::Display for Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::OneOf(words) => f.write_str(&words.join(" or ")),
            Self::Number(range, unit) => {
                write!(f, "{} to {} {unit}", range.start(), range.end())?;
                match unit {
                    Unit::Seconds => Ok(()),
                    Unit::FlowsPerSecond => f.write_str(" (0: no limit)"),
                }
            }
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconds => "seconds",
            Self::FlowsPerSecond => "flows per second",
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => flag.fmt(f),
            Self::Number(number) => number.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}
