//! The state's documents, as they lie in the database.
//!
//! The bytes are lines, two for each document: its kind and name with a space
//! between them, and its JSON.

use std::collections::BTreeSet;

use lb_userspace::{
    clock::{Moment, Now, Wall},
    model::TableSizes,
    state::State,
    store::document::{Key, Kind, assemble, differing},
};

/// Makes a state of the documents. One that was taken is written as documents that
/// make the same, and can be asked for what the agent asks at its start.
pub fn target(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let Ok(state) = assemble(documents(text)) else {
        return;
    };
    let written = differing(&State::default(), &state).expect("what was read can be written");
    let whole = written
        .into_iter()
        .map(|(key, text)| (key, text.expect("nothing that there was is gone")));
    let again = assemble(whole).expect("what was written can be read");
    assert_eq!(again, state);
    let news = differing(&state, &state.clone()).expect("nothing to write");
    assert_eq!(news, [], "a state differs from itself");

    let _fits = state.fits(&TableSizes::default());
    let mut indices = BTreeSet::new();
    let mut taken: BTreeSet<_> = state.node.retired.clone();
    for placement in state.node.load_balancers.values() {
        assert!(
            indices.insert(placement.index),
            "two have index {}",
            placement.index
        );
        for index in placement.backends.values().filter_map(|spot| spot.index) {
            assert!(taken.insert(index), "two backends have index {index}");
        }
    }
    // Another boot, and back again as far as a clock goes.
    let then = Now {
        moment: Moment(1),
        wall: Wall(u64::MAX),
    };
    let mut moved = state.clone();
    moved.rebase(|moment| then.moment_at(then.wall_at(moment)));
    for (_, lb) in state.load_balancers() {
        assert_eq!(lb.backends().count(), lb.desired.backends.len());
        for (_, backend) in lb.backends() {
            assert_eq!(backend.index.is_none(), backend.life.is_gone());
            let _left = backend
                .life
                .drain()
                .map(|drain| drain.seconds_left(Moment(0)));
        }
    }
}

/// What is left over at the end, or of no kind, is no document.
fn documents(text: &str) -> Vec<(Key, String)> {
    let mut lines = text.lines();
    let mut all = Vec::new();
    while let (Some(title), Some(document)) = (lines.next(), lines.next()) {
        let (kind, name) = title.split_once(' ').unwrap_or((title, ""));
        if let Some(kind) = Kind::named(kind) {
            let name = name.to_owned();
            all.push((Key { kind, name }, document.to_owned()));
        }
    }
    all
}
