//! The agent's configuration file: read whole, bounded, checked against the
//! host.

use std::{fs::File, io::Read as _, path::PathBuf};

use super::AgentError;
use crate::config::{Document, Host, Purpose, Settings};

/// The longest configuration file; one of 20,000 backends is half of it.
pub(super) const LONGEST_FILE: u64 = 4 << 20;

/// Which file the agent is configured by, and what the command line says
/// beside it.
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    /// Instead of those that the file names.
    pub(super) interfaces: Vec<String>,
}

impl ConfigFile {
    /// Reads the file and checks it against the host.
    pub(super) fn read(&self) -> Result<(Settings, Document), AgentError> {
        let host = Host::read().map_err(AgentError::Host)?;
        let (mut settings, document) = self.parse(Some(&host))?;
        for interface in &self.interfaces {
            host.interface(interface)
                .map_err(|(message, hint)| AgentError::Interface {
                    interface: interface.clone(),
                    message,
                    hint,
                })?;
        }
        if !self.interfaces.is_empty() {
            settings.interfaces.clone_from(&self.interfaces);
        }
        Ok((settings, document))
    }

    pub(super) fn parse(&self, host: Option<&Host>) -> Result<(Settings, Document), AgentError> {
        let purpose = if self.interfaces.is_empty() {
            Purpose::Agent
        } else {
            Purpose::AgentOn
        };
        let name = self.path.display().to_string();
        Document::for_agent(&name, &self.text()?, purpose, host).map_err(AgentError::Config)
    }

    fn text(&self) -> Result<String, AgentError> {
        let failed = |source| AgentError::Read {
            path: self.path.clone(),
            source,
        };
        let mut text = String::new();
        File::open(&self.path)
            .map_err(failed)?
            .take(LONGEST_FILE + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > LONGEST_FILE {
            return Err(AgentError::TooLong {
                path: self.path.clone(),
            });
        }
        Ok(text)
    }

    /// The name under which what the file says is remembered.
    pub(super) fn source(&self) -> String {
        // A file that can be read has one; a name that is gone is still a name.
        let path = std::fs::canonicalize(&self.path);
        path.as_deref().unwrap_or(&self.path).display().to_string()
    }
}
