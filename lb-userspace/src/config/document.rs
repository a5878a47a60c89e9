//! A whole document: from text to settings and a declaration, or to everything
//! that is wrong with it.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    declare::declaration,
    diagnostic::{At, Diagnostic, Findings, Span},
    host::Host,
    settings::Settings,
    understand::settings,
    written,
};
use crate::{
    model::{Declaration, LbName, spec},
    suggest::nearest,
};

/// Bytes of the longest document: one of 65,535 backends, with names of the usual
/// length, is half of it.
pub const LONGEST_DOCUMENT: usize = 16 << 20;

/// A valid document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// None in a document that only declares load balancers.
    pub settings: Option<Settings>,
    pub declaration: Declaration,
    /// Where each load balancer is declared, for errors that come later.
    places: BTreeMap<LbName, (usize, usize)>,
    file: String,
}

/// What a document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To run the agent: the settings must be there and fit the host.
    Agent,
    /// To run the agent on interfaces that are named elsewhere: those of the
    /// document, if any, do not count.
    AgentOn,
    /// To declare load balancers; settings may be there, and must be valid.
    Apply,
}

impl Document {
    /// Reads and checks a document. With a host, it must fit that too.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(
        file: &str,
        text: &str,
        purpose: Purpose,
        host: Option<&Host>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut findings = Findings::new(file, text);
        let mut places = BTreeMap::new();
        let understood = written::read(&mut findings).map(|written| {
            let declaration = declaration(&written.load_balancers, &mut places, &mut findings);
            (settings(written, purpose, host, &mut findings), declaration)
        });
        findings.into_result()?;
        // There are findings if there is nothing to understand.
        let (settings, declaration) = understood.unwrap_or_default();
        Ok(Self {
            settings,
            declaration,
            places,
            file: file.to_owned(),
        })
    }

    /// [`Document::parse`] for the agent, with what it runs with.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn for_agent(
        file: &str,
        text: &str,
        purpose: Purpose,
        host: Option<&Host>,
    ) -> Result<(Settings, Self), Vec<Diagnostic>> {
        let document = Self::parse(file, text, purpose, host)?;
        match document.settings.clone() {
            Some(settings) => Ok((settings, document)),
            None => Err(vec![document.diagnose(
                "",
                "the agent's settings are missing".to_owned(),
                None,
            )]),
        }
    }

    /// What the document says of `lb` cannot be done, for a reason that is not
    /// in the document.
    #[must_use]
    pub fn diagnose(&self, lb: &str, message: String, hint: Option<String>) -> Diagnostic {
        let (line, column) = self.places.get(lb).copied().unwrap_or((1, 1));
        Diagnostic {
            file: self.file.clone(),
            line,
            column,
            message,
            hint,
        }
    }
}

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
            None => format!("one of {}", names().collect::<Vec<_>>().join(", ")),
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
        Ok(address) => findings.keep(span, spec::unicast(address, what)),
        Err(_) => {
            let shown: String = text.chars().take(64).collect();
            let message = format!("{shown:?} is not an IP address");
            findings.add(span, message, None);
            None
        }
    }
}

#[cfg(test)]
mod tests;
