//! `[[hook]]`: what is to be told of which events.

use std::{collections::BTreeSet, time::Duration};

use hyper::Uri;

use super::{
    diagnostic::{At, Findings},
    written::WrittenHook,
};
use crate::{model::LbName, suggest::nearest, wire::event};

/// A hook, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// In logs and metrics.
    pub name: String,
    /// By the names that `ebb events --json` shows.
    pub events: BTreeSet<&'static str>,
    /// Only of this one.
    pub load_balancer: Option<LbName>,
    pub does: HookDoes,
    /// For each try.
    pub timeout: Duration,
    /// Tries in all.
    pub attempts: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HookDoes {
    /// A program, by its absolute path, and its arguments.
    Run(Vec<String>),
    /// An `http` or `https` URL.
    Post(Uri),
}

/// As many hooks as anybody needs.
const MOST: usize = 64;
const TIMEOUT: std::ops::RangeInclusive<i64> = 1..=300;
const ATTEMPTS: std::ops::RangeInclusive<i64> = 1..=20;

pub(super) fn hooks(written: Vec<At<WrittenHook>>, findings: &mut Findings<'_>) -> Vec<Hook> {
    if let Some(At { span, .. }) = written.get(MOST) {
        findings.add(span, format!("there may be at most {MOST} hooks"), None);
    }
    let mut hooks: Vec<Hook> = Vec::new();
    for (number, At { value, span }) in written.into_iter().enumerate() {
        let name_at = value.name.as_ref().map(|at| at.span.clone());
        let Some(hook) = hook(value, number + 1, &span, findings) else {
            continue;
        };
        if hooks.iter().any(|other| other.name == hook.name) {
            let message = format!("hook {:?} is declared twice", hook.name);
            findings.add(&name_at.unwrap_or(span), message, None);
        }
        hooks.push(hook);
    }
    hooks
}

fn hook(
    written: WrittenHook,
    number: usize,
    span: &super::diagnostic::Span,
    findings: &mut Findings<'_>,
) -> Option<Hook> {
    let name = written
        .name
        .map_or_else(|| format!("hook-{number}"), |at| at.value);
    let events = match written.events {
        Some(events) if !events.value.is_empty() => events.value,
        other => {
            let span = other.as_ref().map_or(span, |at| &at.span);
            let hint = format!("some of {}", event::NAMES.join(", "));
            findings.add(span, "a hook needs `events`", Some(hint));
            return None;
        }
    };
    let mut wanted = BTreeSet::new();
    for At { value, span } in events {
        match event::NAMES.iter().find(|name| **name == value) {
            Some(name) => {
                wanted.insert(*name);
            }
            None => {
                let shown: String = value.chars().take(64).collect();
                let hint = nearest(&value, event::NAMES.iter().copied()).map_or_else(
                    || format!("one of {}", event::NAMES.join(", ")),
                    |near| format!("did you mean \"{near}\"?"),
                );
                findings.add(&span, format!("{shown:?} is not an event"), Some(hint));
            }
        }
    }
    let load_balancer = match written.load_balancer {
        None => None,
        Some(At { value, span }) => Some(findings.keep(&span, LbName::try_from(value))?),
    };
    let does = match (written.command, written.url) {
        (Some(command), None) => {
            let program = command.value.first();
            if program.is_none_or(|program| !program.value.starts_with('/')) {
                findings.add(
                    &command.span,
                    "`command` must be the absolute path of a program, and its arguments",
                    Some("for example [\"/usr/local/bin/notify\", \"--now\"]".to_owned()),
                );
            }
            HookDoes::Run(command.value.into_iter().map(|at| at.value).collect())
        }
        (None, Some(At { value, span })) => {
            let url = value.parse::<Uri>().ok().filter(|url| {
                matches!(url.scheme_str(), Some("http" | "https"))
                    && url.host().is_some_and(|host| !host.is_empty())
            });
            let Some(url) = url else {
                findings.add(&span, "`url` is an http or https URL", None);
                return None;
            };
            HookDoes::Post(url)
        }
        _ => {
            findings.add(span, "a hook needs either `command` or `url`", None);
            return None;
        }
    };
    let mut number = |at: Option<At<i64>>, key, range: std::ops::RangeInclusive<i64>, default| {
        let Some(At { value, span }) = at else {
            return default;
        };
        if !range.contains(&value) {
            let message = format!(
                "`{key}` must be {} to {}, not {value}",
                range.start(),
                range.end()
            );
            findings.add(&span, message, None);
        }
        u32::try_from(value).unwrap_or(default)
    };
    let timeout = number(written.timeout, "timeout", TIMEOUT, 10);
    let attempts = number(written.attempts, "attempts", ATTEMPTS, 6);
    Some(Hook {
        name,
        events: wanted,
        load_balancer,
        does,
        timeout: Duration::from_secs(timeout.into()),
        attempts,
    })
}
