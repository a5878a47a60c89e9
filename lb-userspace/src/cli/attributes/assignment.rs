//! An attribute as typed: `connection-draining.timeout=300`.

use std::{ops::RangeInclusive, str::FromStr};

use crate::{
    model::{Attribute, Takes, Unit, Value},
    suggest::nearest,
    wire::AttributesPatch,
};

/// Which attribute shall be what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Assignment(Attribute, Value);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum AssignmentError {
    #[error("it has no \"=\"; an attribute is set as KEY=VALUE, for example idle-timeout=350")]
    NoValue,
    #[error("there is no attribute \"{key}\"; {}", meant(*nearest))]
    UnknownKey {
        key: String,
        nearest: Option<&'static str>,
    },
    #[error("\"{0}\" is neither true nor false")]
    Flag(String),
    #[error("\"{value}\" is not one of {}", words.join(", "))]
    Word {
        value: String,
        words: &'static [&'static str],
    },
    #[error("\"{value}\" is not a whole number from {} to {} ({unit})", range.start(), range.end())]
    Number {
        value: String,
        range: RangeInclusive<u32>,
        unit: Unit,
    },
}

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(key) => format!("did you mean \"{key}\"?"),
        None => format!(
            "the attributes are {}",
            Attribute::ALL.map(Attribute::command_line).join(", ")
        ),
    }
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let (key, value) = typed.split_once('=').ok_or(AssignmentError::NoValue)?;
        // The configuration file's names will do as well.
        let attribute = Attribute::ALL
            .into_iter()
            .find(|attribute| [attribute.command_line(), attribute.file()].contains(&key))
            .ok_or_else(|| AssignmentError::UnknownKey {
                key: key.to_owned(),
                nearest: nearest(key, Attribute::ALL.map(Attribute::command_line)),
            })?;
        let value = match attribute.takes() {
            Takes::Flag => Value::Flag(flag(value)?),
            Takes::Number(range, unit) => Value::Number(number(value, range, unit)?),
            Takes::OneOf(words) => Value::Word(word(value, words)?),
        };
        Ok(Self(attribute, value))
    }
}

fn flag(value: &str) -> Result<bool, AssignmentError> {
    value
        .parse()
        .map_err(|_| AssignmentError::Flag(value.to_owned()))
}

fn word(value: &str, words: &'static [&'static str]) -> Result<&'static str, AssignmentError> {
    let known = words.iter().find(|word| **word == value);
    known.copied().ok_or_else(|| AssignmentError::Word {
        value: value.to_owned(),
        words,
    })
}

fn number(value: &str, range: RangeInclusive<u32>, unit: Unit) -> Result<u32, AssignmentError> {
    value
        .parse()
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| AssignmentError::Number {
            value: value.to_owned(),
            range,
            unit,
        })
}

/// All of them as one change; of the same key, the last counts.
pub(in crate::cli) fn patch(assignments: &[Assignment]) -> AttributesPatch {
    let mut patch = AttributesPatch::default();
    for Assignment(attribute, value) in assignments {
        let draining = &mut patch.connection_draining;
        match attribute {
            Attribute::DrainingEnabled => {
                draining.get_or_insert_default().enabled = value.flag();
            }
            Attribute::DrainingTimeout => {
                draining.get_or_insert_default().timeout = value.number();
            }
            Attribute::IdleTimeout => patch.idle_timeout = value.number(),
            Attribute::CloseRate => patch.close_rate = value.number(),
            Attribute::NatSource => patch.nat_source = value.word().map(str::to_owned),
        }
    }
    patch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ConnectionDrainingPatch;

    #[test]
    fn assignments_become_one_patch() {
        let assignments: Vec<Assignment> = [
            "connection-draining.enabled=true",
            "connection_draining.timeout=300",
            "idle-timeout=350",
        ]
        .iter()
        .map(|typed| typed.parse().unwrap())
        .collect();
        assert_eq!(
            patch(&assignments),
            AttributesPatch {
                connection_draining: Some(ConnectionDrainingPatch {
                    enabled: Some(true),
                    timeout: Some(300),
                }),
                idle_timeout: Some(350),
                close_rate: None,
                nat_source: None,
            }
        );
    }

    #[test]
    fn a_wrong_assignment_is_told_what_is_wrong_with_it() {
        for (typed, error) in [
            ("idle-timeout", "has no \"=\""),
            ("idle-timout=3", "did you mean \"idle-timeout\"?"),
            (
                "conection-draining.timeout=3",
                "did you mean \"connection-draining.timeout\"?",
            ),
            (
                "colour=red",
                "the attributes are connection-draining.enabled",
            ),
            ("connection-draining.enabled=yes", "neither true nor false"),
            ("connection-draining.timeout=0", "from 1 to 3600"),
            ("connection-draining.timeout=3601", "from 1 to 3600"),
            ("idle-timeout=5m", "from 1 to 4000"),
            ("close-rate=-1", "from 0 to"),
            ("nat-source=server", "one of ebb, client"),
        ] {
            let refused = typed.parse::<Assignment>().expect_err(typed).to_string();
            assert!(refused.contains(error), "{typed}: {refused}");
        }
    }
}
