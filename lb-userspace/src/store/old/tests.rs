use std::fs;

use super::*;
use crate::{
    model::{DrainOutcome, Mode},
    state::life::{Health, Registration},
};

/// Written by ebb 0.1.0 on a host with one interface: one backend drains, one
/// was cut, one came back, one is set unhealthy by hand.
const FILE: &str = include_str!("state-0.1.0.json");

#[test]
fn what_0_1_0_wrote_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.json");
    assert!(read(&path).unwrap().is_none());
    fs::write(&path, FILE).unwrap();
    let old = read(&path).unwrap().unwrap();
    assert_eq!(old.written.time.to_string(), "2026-11-27T00:37:13.212Z");

    let state = old.state;
    let names: Vec<_> = state
        .load_balancers()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(names, ["dns", "more", "old", "six", "web"]);
    assert_eq!(state.node.epochs.next(), 10);
    assert_eq!(state.node.retired, BTreeSet::from([1, 3]));
    assert_eq!(state.node.vips.len(), 6);
    assert_eq!(state.desired.declared.len(), 2);

    let (_, dns) = state.lb("dns").unwrap();
    assert_eq!((dns.index(), dns.mode), (0, Mode::Dsr));
    let backend = |id: &str| state.backend("dns", id).unwrap().1;
    let draining = backend("dns-1");
    assert!(draining.life.is_draining());
    assert_eq!(draining.life.drain().unwrap().timeout, 3600);
    assert_eq!(draining.life.drain().unwrap().flows_at_start, Some(2));
    assert_eq!(draining.index, Some(0));
    let cut = backend("dns-2");
    let outcome = cut.life.drain().unwrap().outcome;
    assert_eq!(outcome, Some(DrainOutcome::Cut { flows: 1 }));
    assert!(matches!(
        backend("dns-3").life.registration(),
        Registration::Registered { cancelled: Some(_) }
    ));

    let (_, by_hand) = state.backend("six", "six-2").unwrap();
    assert_eq!(by_hand.life.health(), Health::Unhealthy);
    let (_, web) = state.lb("web").unwrap();
    assert_eq!(web.attributes.idle_timeout.get(), 600);
    let check = web.health_check.as_ref().unwrap();
    assert_eq!(check.target().to_string(), "HTTP:8080/ping");
}

#[test]
fn a_damaged_file_is_refused() {
    let path = Path::new("state.json");
    let whole = FILE.as_bytes();
    let cuts = (0..whole.len() - 1)
        .step_by(97)
        .map(|end| whole[..end].to_vec());
    let flips = (0..whole.len() - 1).step_by(41).map(|place| {
        let mut flipped = whole.to_vec();
        flipped[place] ^= 1;
        flipped
    });
    for damaged in cuts.chain(flips) {
        match parse(path, &damaged) {
            Err(StoreError::Damaged { .. }) => {}
            Err(StoreError::Newer { .. }) => {
                assert!(!damaged.starts_with(b"{\n  \"format\": 1,"));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{}", String::from_utf8_lossy(&damaged)),
        }
    }
}
