use std::collections::BTreeSet;

use super::*;
use crate::{
    clock::{Moment, Wall},
    control::{command::Command, edit::Draft, index::Index},
    dataplane::Ties,
    model::{BackendId, Leave, TableSizes},
    state::life::Registration,
    wire::checked,
};

const NOW: Now = Now {
    moment: Moment(5_000_000),
    wall: Wall(1_795_000_000_000),
};

fn after(state: &State, commands: impl IntoIterator<Item = Command>) -> State {
    let mut draft = Draft::new(state, NOW, TableSizes::default());
    for command in commands {
        draft.make(command).unwrap();
    }
    let ready = draft.finish(state, &Index::of(state)).unwrap();
    ready.state().clone()
}

/// One load balancer with a backend that drains since [`NOW`], for 300 s.
fn state() -> State {
    let text = r#"{"name": "web", "mode": "nat",
        "listeners": [{"protocol": "tcp", "address": "10.0.0.100", "port": 80}],
        "backends": [{"id": "web-1", "address": "10.0.1.11"}, {"address": "10.0.1.12"}]}"#;
    let (name, spec) = checked::load_balancer(serde_json::from_str(text).unwrap()).unwrap();
    let id = BackendId::try_from("web-1".to_owned()).unwrap();
    let ties = Ties {
        flows: 3,
        handshakes: 0,
    };
    let vip = "10.0.0.100".parse().unwrap();
    after(
        &State::default(),
        [
            Command::Create(name.clone(), spec, serde_json::Value::Null),
            Command::Placed([(vip, "eth0".to_owned())].into()),
            Command::Deregister("web".to_owned(), "web-1".to_owned(), Leave::ByAttributes),
            Command::Polled(name, id, ties),
        ],
    )
}

/// The same, and some time later.
fn other() -> State {
    let keep = serde_json::json!({ "tags": { "owner": "us" } });
    after(&state(), [Command::KeepElb("web".to_owned(), keep)])
}

fn store(folder: &tempfile::TempDir) -> DiskStore {
    DiskStore::open(folder.path(), "boot-1").unwrap()
}

fn files(folder: &tempfile::TempDir) -> BTreeSet<String> {
    let files = fs::read_dir(folder.path()).unwrap();
    files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn p7_what_was_saved_is_loaded() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), None);
    let mut first = store(&folder);
    for state in [state(), other(), State::default(), state()] {
        first.save(&state, NOW, Sure::OnDisk).unwrap();
        assert_eq!(store(&folder).load(NOW).unwrap(), Some(state));
    }
    drop(first);
    let mut second = store(&folder);
    assert_eq!(second.load(NOW).unwrap(), Some(state()));
    second.save(&other(), NOW, Sure::OnDisk).unwrap();
    drop(second);
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(other()));
    let left = BTreeSet::from(["state.db", "state.db.last-good"].map(str::to_owned));
    assert_eq!(files(&folder), left);
}

#[test]
fn a_change_writes_what_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    store.save(&state(), NOW, Sure::OnDisk).unwrap();
    let changes = |store: &DiskStore| store.open.as_ref().unwrap().database.total_changes();
    let before = changes(&store);
    store.save(&state(), NOW, Sure::OnDisk).unwrap();
    assert_eq!(changes(&store), before, "nothing");
    store.save(&other(), NOW, Sure::OnDisk).unwrap();
    // The load balancer, and the `state` row anew.
    assert_eq!(changes(&store), before + 3);
}

#[test]
fn people_can_look_into_it() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW, Sure::OnDisk).unwrap();
    let database = Connection::open(folder.path().join("state.db")).unwrap();
    let drain: u32 = database
        .query_row(
            "SELECT body ->> '$.backends.web-1.registration.draining.timeout'
             FROM document WHERE kind = 'load_balancer' AND name = 'web'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(drain, 300);
    let time: String = database
        .query_row("SELECT body ->> '$.written.time' FROM state", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(time, "2026-11-18T11:06:40.000Z");
}

#[test]
fn a_damaged_file_is_refused_or_the_damage_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW, Sure::OnDisk).unwrap();
    // That the copy is made.
    store(&folder).load(NOW).unwrap();
    let path = folder.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    let header = 100;
    let cuts = (0..whole.len())
        .step_by(509)
        .map(|end| whole[..end].to_vec());
    let flips = (0..whole.len())
        .filter(|place| place % 7 == 0 || *place < header)
        .map(|place| {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (place % 8);
            flipped
        });
    let (mut refused, mut harmless) = (0, 0);
    for damaged in cuts.chain(flips) {
        clear(&path).unwrap();
        fs::write(&path, &damaged).unwrap();
        match store(&folder).load(NOW) {
            Ok(found) => {
                assert_eq!(found, Some(state()));
                harmless += 1;
            }
            Err(error @ StoreError::Damaged { .. }) => {
                let hint = error.hint();
                assert!(hint.contains("2026-11-18T11:06:40.000Z"), "{hint}");
                assert!(hint.contains("state.db.last-good"), "{hint}");
                refused += 1;
            }
            Err(StoreError::Newer { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 100, "{refused} refused, {harmless} harmless");
    clear(&path).unwrap();
    fs::rename(folder.path().join("state.db.last-good"), &path).unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
}

#[test]
fn a_row_that_was_edited_exchanged_or_lost_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW, Sure::OnDisk).unwrap();
    let path = folder.path().join("state.db");
    let whole = fs::read(&path).unwrap();
    for (edit, reason) in [
        (
            "UPDATE document SET body = replace(body, '10.0.1.12', '10.0.1.13')",
            "the checksum of the load_balancer document of web is wrong",
        ),
        (
            "UPDATE document SET name = 'wen' WHERE kind = 'placement'",
            "the checksum of the placement document of wen is wrong",
        ),
        (
            "DELETE FROM document WHERE kind = 'vips'",
            "a document is missing",
        ),
        (
            "UPDATE state SET body = replace(body, 'boot-1', 'boot-2')",
            "its state row",
        ),
        ("DELETE FROM state", "returned no rows"),
        ("DROP TABLE document", "no such table"),
    ] {
        let database = Connection::open(&path).unwrap();
        database.execute_batch(edit).unwrap();
        database.close().unwrap();
        let error = store(&folder).load(NOW).unwrap_err();
        assert!(error.to_string().contains(reason), "{edit}: {error}");
        assert!(error.hint().contains("mv "), "{}", error.hint());
        clear(&path).unwrap();
        fs::write(&path, &whole).unwrap();
    }
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
}

#[test]
fn an_empty_file_is_a_damaged_one() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("state.db"), "").unwrap();
    let error = store(&folder).load(NOW).unwrap_err();
    assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
}

#[test]
fn a_first_save_that_fails_leaves_nothing_half_there() {
    let folder = tempfile::tempdir().unwrap();
    // A folder in the way of the new file.
    let way = folder.path().join("state.db.new");
    fs::create_dir(&way).unwrap();
    let mut first = store(&folder);
    let error = first.save(&state(), NOW, Sure::OnDisk).unwrap_err();
    assert!(error.to_string().contains("state.db.new"), "{error}");
    assert_eq!(store(&folder).load(NOW).unwrap(), None);
    fs::remove_dir(&way).unwrap();
    // What a crash in the middle leaves.
    fs::write(&way, "half").unwrap();
    first.save(&state(), NOW, Sure::OnDisk).unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
}

#[test]
fn a_full_disk_refuses_the_change_and_keeps_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = store(&folder);
    store.save(&state(), NOW, Sure::OnDisk).unwrap();
    let open = store.open.as_ref().unwrap();
    // As many pages as there are, and no more.
    let pages: u32 = open
        .database
        .pragma_query_value(None, "page_count", |row| row.get(0))
        .unwrap();
    open.database
        .pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
        .unwrap();
    let big = serde_json::json!({ "tags": "x".repeat(1 << 20) });
    let bigger = after(&state(), [Command::KeepElb("web".to_owned(), big)]);
    let error = store.save(&bigger, NOW, Sure::OnDisk).unwrap_err();
    assert!(error.hint().contains("free some space"), "{}", error.hint());
    // It goes on with what is there.
    store.save(&other(), NOW, Sure::OnDisk).unwrap();
    drop(store);
    let mut store = DiskStore::open(folder.path(), "boot-1").unwrap();
    assert_eq!(store.load(NOW).unwrap(), Some(other()));
}

#[test]
fn no_link_leads_the_state_elsewhere() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let elsewhere = folder.path().join("elsewhere");
    fs::write(&elsewhere, "precious").unwrap();
    for link in ["state.db.new", "state.db.last-good.new"] {
        symlink(&elsewhere, folder.path().join(link)).unwrap();
    }
    store(&folder).save(&state(), NOW, Sure::OnDisk).unwrap();
    assert_eq!(store(&folder).load(NOW).unwrap(), Some(state()));
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "precious");

    // Not even to a state.
    let (path, there) = (
        folder.path().join("state.db"),
        folder.path().join("there.db"),
    );
    fs::rename(&path, &there).unwrap();
    symlink(&there, &path).unwrap();
    store(&folder).load(NOW).unwrap_err();

    // The folder itself may lie behind one.
    let behind = tempfile::tempdir().unwrap();
    let link = behind.path().join("ebb");
    fs::remove_file(&path).unwrap();
    fs::rename(&there, &path).unwrap();
    symlink(folder.path(), &link).unwrap();
    let mut linked = DiskStore::open(&link, "boot-1").unwrap();
    assert_eq!(linked.load(NOW).unwrap(), Some(state()));
}

#[test]
fn a_newer_format_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW, Sure::OnDisk).unwrap();
    let database = Connection::open(folder.path().join("state.db")).unwrap();
    database.pragma_update(None, "user_version", 3).unwrap();
    database.close().unwrap();
    let error = store(&folder).load(NOW).unwrap_err();
    assert!(
        matches!(error, StoreError::Newer { found: 3, .. }),
        "{error}"
    );
}

#[test]
fn a_reboot_moves_deadlines_onto_the_new_clock() {
    let folder = tempfile::tempdir().unwrap();
    store(&folder).save(&state(), NOW, Sure::OnDisk).unwrap();
    // A minute later by the wall clock, the host has been up for ten
    // seconds.
    let later = Now {
        moment: Moment(10_000),
        wall: Wall(NOW.wall.0 + 60_000),
    };
    let mut rebooted = DiskStore::open(folder.path(), "boot-2").unwrap();
    let state = rebooted.load(later).unwrap().unwrap();
    let drain = |state: &State| {
        let (_, backend) = state.backend("web", "web-1").unwrap();
        let Registration::Draining(drain) = backend.life.registration() else {
            panic!("{backend:?}");
        };
        drain.clone()
    };
    assert_eq!(drain(&state).since, Moment(-50_000));
    assert_eq!(drain(&state).deadline(), Moment(250_000));
    assert!(state.node.vips.is_empty());

    // A wall clock that went back: no time has passed.
    let back = Now {
        moment: Moment(10_000),
        wall: Wall(NOW.wall.0 - 3_600_000),
    };
    let mut rebooted = DiskStore::open(folder.path(), "boot-2").unwrap();
    let state = rebooted.load(back).unwrap().unwrap();
    assert_eq!(drain(&state).since, Moment(10_000));

    // Saved, everything is on the new boot's clock.
    rebooted.save(&state, back, Sure::OnDisk).unwrap();
    drop(rebooted);
    let mut again = DiskStore::open(folder.path(), "boot-2").unwrap();
    assert_eq!(again.load(back).unwrap(), Some(state));
}

mod from_0_1_0 {
    use super::*;

    const FILE: &str = include_str!("../old/state-0.1.0.json");
    /// The boot that the file was written under.
    const BOOT: &str = "8672dce0-1c45-47f4-bd96-fcdf67359525";

    fn world() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let json = folder.path().join("state.json");
        fs::write(&json, FILE).unwrap();
        (folder, json)
    }

    fn store(folder: &tempfile::TempDir) -> DiskStore {
        DiskStore::open(folder.path(), BOOT).unwrap()
    }

    #[test]
    fn its_state_is_taken_over_at_the_first_save_and_the_file_put_aside() {
        let (folder, json) = world();
        let mut first = store(&folder);
        let state = first.load(NOW).unwrap().unwrap();
        assert_eq!(state.desired.load_balancers.len(), 5);
        assert!(json.exists(), "nothing is written by reading");
        first.save(&state, NOW, Sure::OnDisk).unwrap();
        drop(first);
        assert!(!json.exists());
        let aside = folder.path().join("state.json.from-0.1.0");
        assert_eq!(fs::read_to_string(aside).unwrap(), FILE);
        assert_eq!(store(&folder).load(NOW).unwrap(), Some(state));
    }

    #[test]
    fn a_crash_before_the_file_is_put_aside_does_no_harm() {
        let (folder, json) = world();
        let mut first = store(&folder);
        let state = first.load(NOW).unwrap().unwrap();
        first.save(&state, NOW, Sure::OnDisk).unwrap();
        drop(first);
        fs::write(&json, FILE).unwrap();
        assert_eq!(store(&folder).load(NOW).unwrap(), Some(state));
        assert!(!json.exists());
    }

    #[test]
    fn a_file_that_is_not_the_one_taken_over_is_not_passed_over() {
        let (folder, json) = world();
        let mut first = DiskStore::open(folder.path(), BOOT).unwrap();
        fs::remove_file(&json).unwrap();
        first.save(&state(), NOW, Sure::OnDisk).unwrap();
        drop(first);
        fs::write(&json, FILE).unwrap();
        let error = store(&folder).load(NOW).unwrap_err();
        assert!(matches!(error, StoreError::Two { .. }), "{error}");
        assert!(error.hint().contains("state.json"), "{}", error.hint());
        assert!(json.exists());
    }
}
