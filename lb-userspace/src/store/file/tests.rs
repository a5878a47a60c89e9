use super::*;
use crate::{
    control::{backend::Registration, edit::Draft},
    dataplane::Ties,
    model::{BackendId, LbName, Leave},
    tables::TableSizes,
    wire::checked,
};

const NOW: Now = Now {
    moment: Moment(5_000_000),
    wall: Wall(1_795_000_000_000),
};

/// One load balancer with a backend that drains since [`NOW`], for 300 s.
fn state() -> State {
    let text = r#"{"name": "web", "mode": "nat",
        "listeners": [{"protocol": "tcp", "address": "10.0.0.100", "port": 80}],
        "backends": [{"id": "web-1", "address": "10.0.1.11"}, {"address": "10.0.1.12"}]}"#;
    let (name, spec) = checked::load_balancer(serde_json::from_str(text).unwrap()).unwrap();
    let mut draft = Draft::new(&State::default(), NOW, TableSizes::default());
    draft.create(&name, &spec).unwrap();
    draft
        .deregister("web", "web-1", Leave::ByAttributes)
        .unwrap();
    let ties = Ties {
        flows: 3,
        handshakes: 0,
    };
    draft.poll(&name, &id("web-1"), ties);
    draft.state
}

fn id(text: &str) -> BackendId {
    BackendId::try_from(text.to_owned()).unwrap()
}

fn other() -> State {
    let mut state = state();
    state.load_balancers.clear();
    state
}

fn store(folder: &tempfile::TempDir) -> FileStore {
    FileStore::open(folder.path(), "boot-1").unwrap()
}

#[test]
fn p7_what_was_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), None);
    store(&folder).save(&state(), NOW).unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
    store(&folder).save(&other(), NOW).unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(other()));
}

#[test]
fn the_file_can_be_read_by_people() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW).unwrap();
    let text = fs::read_to_string(folder.path().join("state.json")).unwrap();
    for part in [
        "\"time\": \"2026-11-18T11:06:40.000Z\"",
        "\"tcp 10.0.0.100:80\": 80",
        "\"draining\": {",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_damaged_file_is_refused_and_the_last_good_copy_offered() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = store(&folder);
    first.save(&other(), NOW).unwrap();
    first.save(&state(), NOW).unwrap();
    let path = folder.path().join("state.json");
    let whole = fs::read(&path).unwrap();

    let cuts = (0..whole.len() - 1)
        .step_by(17)
        .map(|end| whole[..end].to_vec());
    let flips = (0..whole.len() - 1).step_by(7).map(|place| {
        let mut flipped = whole.clone();
        flipped[place] ^= 1;
        flipped
    });
    for damaged in cuts.chain(flips) {
        fs::write(&path, &damaged).unwrap();
        let error = store(&folder).load(NOW).unwrap_err();
        match &error {
            StoreError::Damaged {
                path: named,
                last_good: Some((good, written)),
                ..
            } => {
                assert_eq!(named, &path);
                assert!(error.hint().contains("mv "), "{}", error.hint());
                assert_eq!(good, &folder.path().join("state.json.last-good"));
                assert_eq!(written, "2026-11-18T11:06:40.000Z");
            }
            StoreError::Newer { .. } => {
                assert!(!damaged.starts_with(b"{\n  \"format\": 1,"));
            }
            other => panic!("{other}"),
        }
    }

    fs::rename(folder.path().join("state.json.last-good"), &path).unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(other()));
}

#[test]
fn a_damaged_file_is_never_kept_as_the_last_good_copy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    fs::write(&path, "{").unwrap();
    let mut store = store(&folder);
    assert!(store.load(NOW).is_err());
    store.save(&state(), NOW).unwrap();
    assert!(!folder.path().join("state.json.last-good").exists());
}

#[test]
fn a_state_that_cannot_be_written_leaves_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut first = store(&folder);
    first.save(&state(), NOW).unwrap();
    // A folder in the way of the new file.
    fs::create_dir(folder.path().join("state.json.tmp")).unwrap();
    let error = first.save(&other(), NOW).unwrap_err();
    assert!(error.to_string().contains("state.json.tmp"), "{error}");
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
}

#[test]
fn a_newer_format_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW).unwrap();
    let path = folder.path().join("state.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replacen("\"format\": 1", "\"format\": 2", 1)).unwrap();
    let error = store(&folder).load(NOW).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 2, .. }),
        "{error}"
    );
}

#[test]
fn a_reboot_moves_deadlines_onto_the_new_clock() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW).unwrap();
    // A minute later by the wall clock, the host has been up for ten
    // seconds.
    let later = Now {
        moment: Moment(10_000),
        wall: Wall(NOW.wall.0 + 60_000),
    };
    let mut rebooted = FileStore::open(folder.path(), "boot-2").unwrap();
    let state = rebooted.load(later).unwrap().unwrap();
    let name = LbName::try_from("web".to_owned()).unwrap();
    let life = &state.load_balancers[&name].backends[&id("web-1")].life;
    let Registration::Draining(drain) = life.registration() else {
        panic!("{life:?}");
    };
    assert_eq!(drain.since, Moment(-50_000));
    assert_eq!(drain.deadline(), Moment(250_000));

    // A wall clock that went back: no time has passed.
    let back = Now {
        moment: Moment(10_000),
        wall: Wall(NOW.wall.0 - 3_600_000),
    };
    let mut rebooted = FileStore::open(folder.path(), "boot-2").unwrap();
    let state = rebooted.load(back).unwrap().unwrap();
    let life = &state.load_balancers[&name].backends[&id("web-1")].life;
    assert_eq!(life.drain().unwrap().since, Moment(10_000));
}

#[test]
fn no_link_leads_the_state_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    for link in ["state.json.tmp", "state.json.last-good.tmp"] {
        std::os::unix::fs::symlink(&elsewhere, folder.path().join(link)).unwrap();
    }
    let mut store = store(&folder);
    store.save(&state(), NOW).unwrap();
    store.save(&other(), NOW).unwrap();
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");
    assert_eq!(store.load(NOW).unwrap(), Some(other()));
}
