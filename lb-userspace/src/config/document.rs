//! A whole document: from text to settings and a declaration, or to everything
//! that is wrong with it.

use std::collections::BTreeMap;

use super::{
    declare::declaration,
    diagnostic::{Diagnostic, Findings},
    host::Host,
    purpose::Purpose,
    settings::Settings,
    understand::settings,
    written,
};
use crate::model::{Declaration, LbName};

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
            let settings = settings(written, &declaration, purpose, host, &mut findings);
            (settings, declaration)
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

#[cfg(test)]
mod tests;
