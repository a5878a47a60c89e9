//! The `[elb_api]` section: where the Query API listens, who may use it, which
//! VIPs it gives away, and which addresses the names of instances stand for.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use super::{
    diagnostic::{At, Findings},
    document::address,
    entrance::{Entrance, entrance},
    values::BackendId,
    written::WrittenElbApi,
};

/// The Query API as it is to run. Changes need a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ElbApi {
    /// Without access keys, requests need no signature.
    pub entrance: Entrance,
    /// What new load balancers get their addresses from.
    pub vip_pool: VipPool,
    /// Instance ids that are not addresses themselves.
    pub instances: BTreeMap<BackendId, IpAddr>,
}

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

/// Where the Query API listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:8089";

pub(super) fn elb_api(written: At<WrittenElbApi>, findings: &mut Findings<'_>) -> Option<ElbApi> {
    let At {
        value: written,
        span,
    } = written;
    let entrance = entrance(written.entrance, DEFAULT_LISTEN, &span, findings);
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
        entrance: entrance?,
        vip_pool,
        instances,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::config::{AccessKeysError, Diagnostic, Document, Purpose};

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
        assert_eq!(api.entrance.listen, "127.0.0.1:8089".parse().unwrap());
        assert_eq!(api.entrance.access_keys["AKIDEXAMPLE"].expose(), "secret");
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
        assert_eq!(parse("[elb_api]").unwrap().entrance.access_keys.len(), 0);
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
            api.entrance.all_access_keys(),
            Err(AccessKeysError::Io { .. })
        ));
        fs::write(&path, "AKID = \"hidden\"\n").unwrap();
        let keys = api.entrance.all_access_keys().unwrap();
        assert_eq!(keys["AKID"].expose(), "hidden");
        assert_eq!(keys.len(), 2);
        for bad in [
            "",
            "AKID = \"\"",
            "AKID = hidden",
            "[AKID]\nhidden = \"hidden\"",
        ] {
            fs::write(&path, bad).unwrap();
            let error = api.entrance.all_access_keys().expect_err(bad);
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
    }
}
