//! The `[elb_api]` section: where the Query API listens, who may use it, which
//! VIPs it gives away, and which addresses the names of instances stand for.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use super::{
    diagnostic::{At, Findings},
    document::address,
    values::BackendId,
    written::WrittenElbApi,
};

/// The Query API as it is to run. Changes need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElbApi {
    pub listen: SocketAddr,
    /// Without any, requests need no signature, and `listen` is a loopback
    /// address.
    pub access_keys: AccessKeys,
    /// More of them, read when the agent starts.
    pub access_keys_file: Option<PathBuf>,
    /// What new load balancers get their addresses from.
    pub vip_pool: VipPool,
    /// Instance ids that are not addresses themselves.
    pub instances: BTreeMap<BackendId, IpAddr>,
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

/// Addresses to give away, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VipPool(Vec<(IpAddr, IpAddr)>);

impl VipPool {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The first address that is none of `taken`.
    #[must_use]
    pub fn first_free(&self, taken: &BTreeSet<IpAddr>) -> Option<IpAddr> {
        self.0
            .iter()
            .flat_map(|(first, last)| {
                (number(*first)..=number(*last)).map(|n| numbered(n, first.is_ipv4()))
            })
            .find(|address| !taken.contains(address))
    }

    fn overlaps(&self, first: IpAddr, last: IpAddr) -> bool {
        self.0.iter().any(|(from, to)| {
            from.is_ipv4() == first.is_ipv4()
                && number(*from) <= number(last)
                && number(first) <= number(*to)
        })
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

fn numbered(n: u128, v4: bool) -> IpAddr {
    match u32::try_from(n) {
        Ok(n) if v4 => IpAddr::V4(n.into()),
        _ => IpAddr::V6(n.into()),
    }
}

/// Why the access keys are not to be had.
#[derive(Debug, thiserror::Error)]
pub enum AccessKeysError {
    #[error("cannot read the access keys: {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the access keys in {} should be lines like AKIDEXAMPLE = \"secret\": {reason}", path.display())]
    Form { path: PathBuf, reason: String },
    #[error("there are no access keys in {}", path.display())]
    None { path: PathBuf },
}

impl ElbApi {
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
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(source) => return Err(AccessKeysError::Io { path, source }),
    };
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

/// Where the Query API listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:8089";

pub(super) fn elb_api(written: At<WrittenElbApi>, findings: &mut Findings<'_>) -> Option<ElbApi> {
    let At {
        value: written,
        span,
    } = written;
    let listen_at = written.listen.unwrap_or_else(|| At {
        value: DEFAULT_LISTEN.to_owned(),
        span: span.clone(),
    });
    let listen: Option<SocketAddr> = listen_at.value.parse().ok();
    if listen.is_none() {
        findings.add(
            &listen_at.span,
            "`listen` is an address and a port",
            Some("as in \"127.0.0.1:8089\" or \"[::1]:8089\"".to_owned()),
        );
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
            format!("{listen} is no loopback address, and there are no access keys"),
            Some("whoever reaches it could take backends out: add `access_keys` or `access_keys_file`".to_owned()),
        );
    }
    let mut vip_pool = VipPool::default();
    for At { value, span } in written.vip_pool.map_or_else(Vec::new, |at| at.value) {
        let (first, last) = value.split_once('-').unwrap_or((&value, &value));
        let mut end =
            |text: &str| address(text.trim(), &span, "an address of the VIP pool", findings);
        let (Some(first), Some(last)) = (end(first), end(last)) else {
            continue;
        };
        if first.is_ipv4() != last.is_ipv4() || first > last {
            let message =
                format!("{value:?} is not a range: it goes from the lower address to the higher");
            findings.add(&span, message, None);
        } else if vip_pool.overlaps(first, last) {
            findings.add(&span, format!("{value:?} is in the VIP pool already"), None);
        } else {
            vip_pool.0.push((first, last));
        }
    }
    let mut instances = BTreeMap::new();
    for (id, At { value, span }) in written.instances {
        let Some(at) = address(&value, &span, "the address of an instance", findings) else {
            continue;
        };
        if let Some(id) = findings.keep(&span, BackendId::try_from(id)) {
            instances.insert(id, at);
        }
    }
    Some(ElbApi {
        listen: listen?,
        access_keys,
        access_keys_file,
        vip_pool,
        instances,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Diagnostic, Document, Purpose};

    fn parse(section: &str) -> Result<ElbApi, Vec<Diagnostic>> {
        let text = format!("interfaces = [\"eth0\"]\n{section}");
        let document = Document::parse("ebb.toml", &text, Purpose::Agent, None)?;
        Ok(document.settings.unwrap().elb_api.unwrap())
    }

    #[test]
    fn the_section_is_understood() {
        let api = parse(
            "[elb_api]\n\
             vip_pool = [\"10.0.0.100-10.0.0.101\", \"10.0.0.120\", \"fd00::1 - fd00::2\"]\n\
             access_keys = { AKIDEXAMPLE = \"secret\" }\n\
             instances = { web-1 = \"10.0.1.11\", \"a@b\" = \"fd00::11\" }",
        )
        .unwrap();
        assert_eq!(api.listen, "127.0.0.1:8089".parse().unwrap());
        assert_eq!(api.access_keys["AKIDEXAMPLE"].expose(), "secret");
        assert!(!format!("{api:?}").contains("\"secret\""));
        let web: IpAddr = [10, 0, 1, 11].into();
        assert_eq!(api.instances["web-1"], web);

        let mut taken = BTreeSet::new();
        let mut given = Vec::new();
        while let Some(vip) = api.vip_pool.first_free(&taken) {
            given.push(vip.to_string());
            taken.insert(vip);
        }
        assert_eq!(
            given,
            [
                "10.0.0.100",
                "10.0.0.101",
                "10.0.0.120",
                "fd00::1",
                "fd00::2"
            ]
        );
    }

    #[test]
    fn without_the_section_there_is_no_query_api() {
        let document =
            Document::parse("ebb.toml", "interfaces = [\"eth0\"]", Purpose::Agent, None).unwrap();
        assert_eq!(document.settings.unwrap().elb_api, None);
        assert_eq!(parse("[elb_api]").unwrap().access_keys.len(), 0);
    }

    #[test]
    fn bad_input_is_named() {
        for (section, line, said) in [
            (
                "[elb_api]\nlisten = \"0.0.0.0:80\"",
                3,
                "no loopback address",
            ),
            ("[elb_api]\nlisten = \"[fd00::1]:80\"", 3, "access_keys"),
            (
                "[elb_api]\nlisten = \"localhost\"",
                3,
                "an address and a port",
            ),
            ("[elb_api]\nlisten_on = \"\"", 3, "did you mean `listen`?"),
            ("[elb_api]\naccess_keys = { A = \"\" }", 3, "is empty"),
            ("[elb_api]\naccess_keys = { A = 1 }", 3, "expected a string"),
            ("[elb_api]\naccess_keys_file = \"keys\"", 3, "absolute path"),
            (
                "[elb_api]\nvip_pool = [\"10.0.0.9-10.0.0.1\"]",
                3,
                "not a range",
            ),
            (
                "[elb_api]\nvip_pool = [\"10.0.0.9-fd00::1\"]",
                3,
                "not a range",
            ),
            ("[elb_api]\nvip_pool = [\"x\"]", 3, "not an IP address"),
            ("[elb_api]\nvip_pool = [\"127.0.0.1\"]", 3, "loopback"),
            (
                "[elb_api]\nvip_pool = [\"10.0.0.1-10.0.0.9\",\n\"10.0.0.9\"]",
                4,
                "in the VIP pool already",
            ),
            (
                "[elb_api]\ninstances = { a = \"b\" }",
                3,
                "not an IP address",
            ),
            (
                "[elb_api]\ninstances = { \"a b\" = \"10.0.0.1\" }",
                3,
                "not an id",
            ),
            ("elb_api = 1", 2, "expected a table"),
        ] {
            let found = parse(section).expect_err(section);
            let hit = found
                .iter()
                .any(|finding| finding.line == line && finding.to_string().contains(said));
            assert!(hit, "{section}: {found:#?}");
        }
    }

    #[test]
    fn a_file_of_keys_is_read_and_a_bad_one_refused_without_its_secrets() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let section = format!(
            "[elb_api]\nlisten = \"0.0.0.0:80\"\naccess_keys_file = {path:?}\naccess_keys = {{ A = \"a\" }}"
        );
        let api = parse(&section).unwrap();
        assert!(matches!(
            api.all_access_keys(),
            Err(AccessKeysError::Io { .. })
        ));
        fs::write(&path, "AKID = \"hidden\"\n").unwrap();
        let keys = api.all_access_keys().unwrap();
        assert_eq!(keys["AKID"].expose(), "hidden");
        assert_eq!(keys.len(), 2);
        for bad in [
            "",
            "AKID = \"\"",
            "AKID = hidden",
            "[AKID]\nhidden = \"hidden\"",
        ] {
            fs::write(&path, bad).unwrap();
            let error = api.all_access_keys().expect_err(bad);
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
    }
}
