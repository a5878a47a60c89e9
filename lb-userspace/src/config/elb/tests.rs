use std::{fs, fs::Permissions, os::unix::fs::PermissionsExt as _};

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
            "not a loopback address",
        ),
        ("[elb_api]\nlisten = \"[fd00::1]:80\"", 3, "access_keys"),
        (
            "[elb_api]\nlisten = \"localhost\"",
            3,
            "an address and a port",
        ),
        ("[elb_api]\nlisten_on = \"\"", 3, "did you mean `listen`?"),
        (
            "[elb_api]\nnames = [\"http://elb.example.com\"]",
            3,
            "not a name that clients can use",
        ),
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
    let with_mode = |mode| {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        api.entrance.all_access_keys()
    };
    for exposed in [0o644, 0o660] {
        let error = with_mode(exposed).expect_err("exposed");
        assert!(matches!(error, AccessKeysError::Exposed { .. }), "{error}");
        assert!(error.to_string().contains("chmod"), "{error}");
    }
    with_mode(0o640).unwrap();
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
