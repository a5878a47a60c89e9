//! Values that several sections have: from the text to what it names.

use std::net::IpAddr;

use super::diagnostic::{At, Findings, Span};
use crate::{model::unicast, suggest::nearest};

/// The choice that was written, or a finding.
pub(super) fn one_of<T: Copy>(
    written: &At<String>,
    what: &str,
    choices: &[(&'static str, T)],
    findings: &mut Findings<'_>,
) -> Option<T> {
    let found = choices.iter().find(|(name, _)| *name == written.value);
    if found.is_none() {
        let names = || choices.iter().map(|(name, _)| *name);
        let hint = match nearest(&written.value, names()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!("use one of {}", names().collect::<Vec<_>>().join(", ")),
        };
        let shown: String = written.value.chars().take(64).collect();
        let message = format!("{shown:?} is not {what}");
        findings.add(&written.span, message, Some(hint));
    }
    found.map(|(_, value)| *value)
}

/// The address that was written, or a finding.
pub(super) fn address(
    text: &str,
    span: &Span,
    what: &'static str,
    findings: &mut Findings<'_>,
) -> Option<IpAddr> {
    match text.parse() {
        Ok(address) => findings.keep(span, unicast(address, what)),
        Err(_) => {
            let shown: String = text.chars().take(64).collect();
            let message = format!("{shown:?} is not an IP address");
            findings.add(span, message, None);
            None
        }
    }
}
