//! The agent's configuration file: read whole, bounded, checked against the
//! host.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::error::AgentError;
use crate::config::{
    Document, Exposed, Host, LONGEST_DOCUMENT, Places, Purpose, Settings, check_secret_file,
};

/// The longest configuration file.
const LONGEST_FILE: u64 = LONGEST_DOCUMENT as u64;

/// Which file the agent is configured by, and what the command line says
/// beside it.
pub(super) struct ConfigFile {
    pub(super) path: PathBuf,
    /// Instead of those that the file names.
    pub(super) interfaces: Vec<String>,
}

impl ConfigFile {
    /// Reads the file and checks it against the host, whose interfaces may come later.
    pub(super) fn read(&self) -> Result<(Settings, Document), AgentError> {
        let mut host = Host::read().map_err(AgentError::Host)?;
        host.interfaces_may_come = true;
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
        host.interfaces_may_come = false;
        for interface in &settings.interfaces {
            if let Err((message, _)) = host.interface(interface) {
                tracing::warn!("{message}; it is served as soon as it comes");
            }
        }
        Ok((settings, document))
    }

    fn parse(&self, host: Option<&Host>) -> Result<(Settings, Document), AgentError> {
        let purpose = if self.interfaces.is_empty() {
            Purpose::Agent
        } else {
            Purpose::AgentOn
        };
        let name = self.path.display().to_string();
        let (text, kept) = self.text()?;
        let (settings, document) =
            Document::for_agent(&name, &text, purpose, host).map_err(AgentError::Config)?;
        let elb = settings.elb_api.as_ref().map(|api| &api.entrance);
        let mut entrances = elb.into_iter().chain(&settings.console);
        if entrances.any(|entrance| !entrance.access_keys.is_empty()) {
            kept.map_err(|why| AgentError::Exposed {
                path: self.path.clone(),
                why,
            })?;
        }
        Ok((settings, document))
    }

    /// The file, and whether it would keep a secret.
    fn text(&self) -> Result<(String, Result<(), Exposed>), AgentError> {
        let failed = |source| AgentError::Read {
            path: self.path.clone(),
            source,
        };
        let mut text = String::new();
        let file = File::open(&self.path).map_err(failed)?;
        let kept = check_secret_file(&file);
        file.take(LONGEST_FILE + 1)
            .read_to_string(&mut text)
            .map_err(failed)?;
        if text.len() as u64 > LONGEST_FILE {
            return Err(AgentError::TooLong {
                path: self.path.clone(),
            });
        }
        Ok((text, kept))
    }

    /// The name under which what the file says is remembered.
    pub(super) fn source(&self) -> String {
        // A file that can be read has one; a name that is gone is still a name.
        let path = std::fs::canonicalize(&self.path);
        path.as_deref().unwrap_or(&self.path).display().to_string()
    }
}

/// Where an agent with this configuration keeps things, whatever else is wrong with the
/// file. Where there is none, it is where the agent would by default.
pub(super) fn places(config: &Path) -> Result<Places, AgentError> {
    let file = ConfigFile {
        path: config.to_owned(),
        interfaces: Vec::new(),
    };
    match file.text() {
        Ok((text, _)) => Ok(Places::of(&text)),
        Err(AgentError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            Ok(Places::of(""))
        }
        Err(error) => Err(error),
    }
}
