//! An attribute as typed: `connection-draining.timeout=300`.

use std::{ops::RangeInclusive, str::FromStr};

use crate::{
    model::{DRAIN_TIMEOUT, IDLE_TIMEOUT},
    suggest::nearest,
    wire::AttributesPatch,
};

const KEYS: [&str; 4] = [
    "connection-draining.enabled",
    "connection-draining.timeout",
    "idle-timeout",
    "close-rate",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Assignment {
    DrainingEnabled(bool),
    DrainingTimeout(u32),
    IdleTimeout(u32),
    CloseRate(u32),
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(in crate::cli) enum AssignmentError {
    #[error("it has no \"=\"; an attribute is set as KEY=VALUE, as in idle-timeout=350")]
    NoValue,
    #[error("there is no attribute \"{key}\"; {}", meant(*nearest))]
    UnknownKey {
        key: String,
        nearest: Option<&'static str>,
    },
    #[error("\"{0}\" is neither true nor false")]
    Flag(String),
    #[error("\"{value}\" is not a whole number from {least} to {most}{unit}")]
    Number {
        value: String,
        least: u32,
        most: u32,
        unit: &'static str,
    },
}

fn meant(nearest: Option<&str>) -> String {
    match nearest {
        Some(key) => format!("did you mean \"{key}\"?"),
        None => format!("there are {}", KEYS.join(", ")),
    }
}

impl FromStr for Assignment {
    type Err = AssignmentError;

    fn from_str(typed: &str) -> Result<Self, Self::Err> {
        let (key, value) = typed.split_once('=').ok_or(AssignmentError::NoValue)?;
        // The configuration file writes underscores.
        match key.replace('_', "-").as_str() {
            "connection-draining.enabled" => flag(value).map(Self::DrainingEnabled),
            "connection-draining.timeout" => {
                number(value, DRAIN_TIMEOUT, " (seconds)").map(Self::DrainingTimeout)
            }
            "idle-timeout" => number(value, IDLE_TIMEOUT, " (seconds)").map(Self::IdleTimeout),
            "close-rate" => number(value, 0..=u32::MAX, "").map(Self::CloseRate),
            unknown => Err(AssignmentError::UnknownKey {
                key: key.to_owned(),
                nearest: nearest(unknown, KEYS),
            }),
        }
    }
}

fn flag(value: &str) -> Result<bool, AssignmentError> {
    value
        .parse()
        .map_err(|_| AssignmentError::Flag(value.to_owned()))
}

fn number(
    value: &str,
    range: RangeInclusive<u32>,
    unit: &'static str,
) -> Result<u32, AssignmentError> {
    value
        .parse()
        .ok()
        .filter(|n| range.contains(n))
        .ok_or_else(|| AssignmentError::Number {
            value: value.to_owned(),
            least: *range.start(),
            most: *range.end(),
            unit,
        })
}

/// All of them as one change; of the same key, the last counts.
pub(in crate::cli) fn patch(assignments: &[Assignment]) -> AttributesPatch {
    let mut patch = AttributesPatch::default();
    for assignment in assignments {
        match *assignment {
            Assignment::DrainingEnabled(enabled) => {
                let draining = patch.connection_draining.get_or_insert_default();
                draining.enabled = Some(enabled);
            }
            Assignment::DrainingTimeout(timeout) => {
                let draining = patch.connection_draining.get_or_insert_default();
                draining.timeout = Some(timeout);
            }
            Assignment::IdleTimeout(timeout) => patch.idle_timeout = Some(timeout),
            Assignment::CloseRate(rate) => patch.close_rate = Some(rate),
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
            ("colour=red", "there are connection-draining.enabled"),
            ("connection-draining.enabled=yes", "neither true nor false"),
            ("connection-draining.timeout=0", "from 1 to 3600"),
            ("connection-draining.timeout=3601", "from 1 to 3600"),
            ("idle-timeout=5m", "from 1 to 4000"),
            ("close-rate=-1", "from 0 to"),
        ] {
            let refused = typed.parse::<Assignment>().expect_err(typed).to_string();
            assert!(refused.contains(error), "{typed}: {refused}");
        }
    }
}
