//! The way in over TCP that the Query API and the console have alike: where it
//! listens, and who may use it.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use super::{
    diagnostic::{At, Findings, Span},
    host_name::HostName,
    secret_file::{self, Exposed},
    written::WrittenEntrance,
};

/// An address, and the keys of those who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entrance {
    pub listen: SocketAddr,
    /// What it is called beside its address, as where something in front of it
    /// speaks TLS.
    pub names: Vec<HostName>,
    /// Without any, whoever reaches `listen` may use it, and it is a loopback
    /// address.
    pub access_keys: AccessKeys,
    /// More of them, read when the agent starts.
    pub access_keys_file: Option<PathBuf>,
}

/// A secret access key. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// Secrets by access key id.
pub type AccessKeys = BTreeMap<String, Secret>;

/// Why the access keys are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum AccessKeysError {
    #[error("cannot read the access keys: {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the access keys in {} are not secret: {why}", path.display())]
    Exposed { path: PathBuf, why: Exposed },
    #[error("the access keys in {} should be lines like AKIDEXAMPLE = \"secret\": {reason}", path.display())]
    Form { path: PathBuf, reason: String },
    #[error("there are no access keys in {}", path.display())]
    None { path: PathBuf },
}

impl Entrance {
    /// Every access key there is: those of the configuration and those of its
    /// file.
    ///
    /// # Errors
    /// When there is a file and no access keys can be read from it.
    pub fn all_access_keys(&self) -> Result<AccessKeys, AccessKeysError> {
        let mut keys = self.access_keys.clone();
        if let Some(path) = &self.access_keys_file {
            keys.extend(read_keys(path)?);
        }
        Ok(keys)
    }
}

fn read_keys(path: &Path) -> Result<AccessKeys, AccessKeysError> {
    let path = path.to_owned();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(source) => return Err(AccessKeysError::Io { path, source }),
    };
    if let Err(why) = secret_file::check(&file) {
        return Err(AccessKeysError::Exposed { path, why });
    }
    let mut text = String::new();
    if let Err(source) = file.read_to_string(&mut text) {
        return Err(AccessKeysError::Io { path, source });
    }
    let keys: BTreeMap<String, String> = match toml::from_str(&text) {
        Ok(keys) => keys,
        // The whole error would show the line, and with it the secret.
        Err(error) => {
            let reason = error.message().to_owned();
            return Err(AccessKeysError::Form { path, reason });
        }
    };
    if let Some((id, _)) = keys.iter().find(|(_, secret)| secret.is_empty()) {
        let reason = format!("the secret of {id:?} is empty");
        return Err(AccessKeysError::Form { path, reason });
    }
    if keys.is_empty() {
        return Err(AccessKeysError::None { path });
    }
    Ok(keys
        .into_iter()
        .map(|(id, secret)| (id, secret.into()))
        .collect())
}

pub(super) fn entrance(
    written: WrittenEntrance,
    default: &str,
    section: &Span,
    findings: &mut Findings<'_>,
) -> Option<Entrance> {
    let listen_at = written.listen.unwrap_or_else(|| At {
        value: default.to_owned(),
        span: section.clone(),
    });
    let listen: Option<SocketAddr> = listen_at.value.parse().ok();
    if listen.is_none() {
        findings.add(
            &listen_at.span,
            "`listen` must be an address and a port",
            Some(format!("for example {default:?} or \"[::1]:8089\"")),
        );
    }
    let mut names = Vec::new();
    for At { value, span } in written.names.map_or_else(Vec::new, |at| at.value) {
        match HostName::parse(&value) {
            Some(name) => names.push(name),
            None => findings.add(
                &span,
                format!("{value:?} is not a name that clients can use"),
                Some("for example \"elb.example.com\" or \"192.0.2.1:8089\"".to_owned()),
            ),
        }
    }
    let mut access_keys = AccessKeys::new();
    for (id, At { value, span }) in written.access_keys {
        if value.is_empty() {
            findings.add(&span, format!("the secret of {id:?} is empty"), None);
        }
        access_keys.insert(id, value.into());
    }
    let access_keys_file = written.access_keys_file.map(|At { value, span }| {
        let path = PathBuf::from(value);
        if !path.is_absolute() {
            findings.add(&span, "`access_keys_file` must be an absolute path", None);
        }
        path
    });
    if let Some(listen) = listen
        && !listen.ip().to_canonical().is_loopback()
        && access_keys.is_empty()
        && access_keys_file.is_none()
    {
        findings.add(
            &listen_at.span,
            format!("{listen} is not a loopback address, and there are no access keys"),
            Some("anyone who reaches it could take backends out; add `access_keys` or `access_keys_file`".to_owned()),
        );
    }
    Some(Entrance {
        listen: listen?,
        names,
        access_keys,
        access_keys_file,
    })
}
