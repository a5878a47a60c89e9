use std::{
    cell::Cell,
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use proptest::prelude::*;

use super::*;
use crate::abi::{address::Addr4, flow::Ports};

/// A row that nobody else works on.
struct Quiet(Vec<Cell<u64>>);

impl Quiet {
    fn new(words: &[u64]) -> Self {
        Self(words.iter().copied().map(Cell::new).collect())
    }
}

impl Words for Quiet {
    fn load(&self, at: u32) -> u64 {
        self.0[at as usize].get()
    }
    fn set(&self, at: u32, bits: u64) -> u64 {
        let word = &self.0[at as usize];
        word.replace(word.get() | bits)
    }
    fn clear(&self, at: u32, bits: u64) -> u64 {
        let word = &self.0[at as usize];
        word.replace(word.get() & !bits)
    }
    fn write_cursor(&self, cursor: u64) {
        self.0[0].set(cursor);
    }
    fn take_over(&self, owner: u64) -> bool {
        let is_free = self.0[1].get() == 0;
        if is_free {
            self.0[1].set(owner);
        }
        is_free
    }
    fn count_bound(&self, more: u64) {
        self.0[2].set(self.0[2].get().wrapping_add(more));
    }
}

struct Busy(Vec<AtomicU64>);

impl Words for Busy {
    fn load(&self, at: u32) -> u64 {
        self.0[at as usize].load(Ordering::SeqCst)
    }
    fn set(&self, at: u32, bits: u64) -> u64 {
        self.0[at as usize].fetch_or(bits, Ordering::SeqCst)
    }
    fn clear(&self, at: u32, bits: u64) -> u64 {
        self.0[at as usize].fetch_and(!bits, Ordering::SeqCst)
    }
    fn write_cursor(&self, cursor: u64) {
        self.0[0].store(cursor, Ordering::Relaxed);
    }
    fn take_over(&self, owner: u64) -> bool {
        let (first, relaxed) = (Ordering::SeqCst, Ordering::Relaxed);
        self.0[1].compare_exchange(0, owner, first, relaxed).is_ok()
    }
    fn count_bound(&self, more: u64) {
        self.0[2].fetch_add(more, Ordering::SeqCst);
    }
}

/// As [`take`], where nobody else works on the row.
fn taken(row: &Quiet, class: Class) -> Option<u32> {
    match take(row, class) {
        Taken::Place(place) => Some(place),
        Taken::None => None,
        Taken::Again => panic!("nobody else is here"),
    }
}

#[test]
fn every_port_is_given_once_and_then_none_is_left() {
    let row = Quiet::new(&blank(1024, u16::MAX, 7));
    let mut ports = BTreeSet::new();
    while let Some(place) = taken(&row, Class::Free) {
        put(&row, place, Class::Unanswered);
        assert!(ports.insert(port(place, 7)), "{place} twice");
    }
    assert!(ports.iter().copied().eq(1024..=u16::MAX));
}

#[test]
fn the_one_port_that_is_left_is_found_wherever_it_is() {
    let row = Quiet::new(&[u64::MAX; ROW_LEN]);
    for from in [0, 63, 64, 4095, 4096, 65_535, 65_536] {
        for left in [0, 1, 63, 64, 4095, 4096, 40_000, 65_535] {
            row.write_cursor(from);
            put(&row, left, Class::Free);
            assert_eq!(taken(&row, Class::Free), Some(left), "from {from}");
            assert_eq!(taken(&row, Class::Free), None, "{left} was taken");
        }
    }
}

#[test]
fn the_port_that_was_bound_the_longest_ago_comes_first() {
    let row = Quiet::new(&[0; ROW_LEN]);
    let bound: Vec<_> = (0..65_536)
        .map(|_| {
            let place = taken(&row, Class::Free).unwrap();
            put(&row, place, Class::Answered);
            place
        })
        .collect();
    for place in bound {
        assert_eq!(taken(&row, Class::Answered), Some(place));
        put(&row, place, Class::Answered);
    }
}

#[test]
fn a_port_that_has_become_free_is_left_alone_until_the_others_had_their_turn() {
    let row = Quiet::new(&blank(2000, 2999, 7));
    let first = taken(&row, Class::Free).unwrap();
    put(&row, first, Class::Free);
    for _ in 1..1000 {
        let place = taken(&row, Class::Free).unwrap();
        assert_ne!(place, first);
        put(&row, place, Class::Free);
    }
    assert_eq!(taken(&row, Class::Free), Some(first));
}

#[test]
fn the_lowest_bit_is_found() {
    for bit in 0..64 {
        assert_eq!(lowest(1 << bit), bit);
        assert_eq!(lowest(u64::MAX << bit), bit);
    }
}

#[test]
fn two_backends_have_two_owners_and_the_port_does_not_count() {
    let of = |backend, nat_port| {
        let reply = FlowKey {
            source: Addr4(backend),
            destination: Addr4(0x0100_000A),
            ports: Ports::new(80, nat_port),
            protocol: 6,
        };
        owner(&reply, 7)
    };
    assert_eq!(of(1, 1000), of(1, 2000));
    assert_ne!(of(1, 1000), of(2, 1000));
}

#[test]
fn a_row_is_its_first_owners_alone() {
    let row = Quiet::new(&[0; ROW_LEN]);
    let (one, other) = (Owner(3), Owner(5));
    assert!(one.has(&row) && !other.has(&row) && one.has(&row));
}

#[test]
fn the_rows_of_an_owner_follow_each_other() {
    for hash in [1, u64::MAX, 1 << 31] {
        let owner = Owner(hash);
        let rows: BTreeSet<_> = (0..PROBES).map(|probe| owner.row(probe, 64)).collect();
        assert_eq!(rows.len(), 8);
        assert!(rows.iter().all(|row| *row < 64), "{rows:?}");
    }
}

#[test]
fn cpus_at_once_never_get_one_port_twice_and_lose_none() {
    const EACH: usize = 20_000;
    let row = Busy(blank(1, 300, 7).map(AtomicU64::new).into());
    let holders: Vec<_> = (0..65_536).map(|_| AtomicU64::new(0)).collect();
    thread::scope(|scope| {
        for cpu in 0..4_u64 {
            let (row, holders) = (&row, &holders);
            scope.spawn(move || {
                let mut mine = Vec::new();
                for turn in 0..EACH {
                    let class = Class::TAKEN_FROM[turn % 4];
                    if let Taken::Place(place) = take(row, class) {
                        let before = holders[place as usize].swap(cpu + 1, Ordering::SeqCst);
                        assert_eq!(before, 0, "{place} was taken twice");
                        mine.push(place);
                    }
                    if mine.len() > 60 || turn % 3 == 0 {
                        for place in mine.drain(..) {
                            holders[place as usize].store(0, Ordering::SeqCst);
                            let to = Class::TAKEN_FROM[(turn + place as usize) % 4];
                            put(row, place, to);
                        }
                    }
                }
                for place in mine {
                    holders[place as usize].store(0, Ordering::SeqCst);
                    put(row, place, Class::Free);
                }
            });
        }
    });
    let words: Vec<_> = row
        .0
        .iter()
        .map(|word| word.load(Ordering::SeqCst))
        .collect();
    let row = Quiet::new(&words);
    let mut found = [0; 4];
    for (class, found) in Class::TAKEN_FROM.into_iter().zip(&mut found) {
        let bound = row.load(2);
        while taken(&row, class).is_some() {
            *found += 1;
        }
        if class == Class::Free {
            assert_eq!(bound + *found, 300, "the count");
        }
    }
    assert_eq!(found.iter().sum::<u64>(), 300);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Take(usize),
    Put(u32, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let classes = [
        Class::Free,
        Class::Closed,
        Class::Unanswered,
        Class::Answered,
        Class::Open,
    ];
    prop_oneof![
        (0..4_usize).prop_map(Step::Take),
        // Few places, so that they meet, over all words.
        (0..400_u32, 0..classes.len()).prop_map(|(n, class)| Step::Put(n * 163, class)),
    ]
}

const CLASSES: [Class; 5] = [
    Class::Free,
    Class::Closed,
    Class::Unanswered,
    Class::Answered,
    Class::Open,
];

proptest! {
    #[test]
    fn a_place_is_in_the_class_that_it_was_put_in_last(
        cursor in 0..=65_536_u64,
        steps in proptest::collection::vec(step(), 1..200),
    ) {
        let row = Quiet::new(&[u64::MAX; ROW_LEN]);
        for place in 0..65_536 {
            if row.load(word_at(1, place >> 6)) != 0 {
                put(&row, place, Class::Open);
            }
        }
        row.write_cursor(cursor);
        let mut model = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(place, class) => {
                    put(&row, place, CLASSES[class]);
                    model.insert(place, CLASSES[class]);
                }
                Step::Take(class) => {
                    let class = CLASSES[class];
                    let from = row.load(0) as u32;
                    let first = |range: std::ops::Range<u32>| {
                        model
                            .range(range)
                            .find(|(_, found)| **found == class)
                            .map(|(place, _)| *place)
                    };
                    let expected = first(from..65_536).or_else(|| first(0..from));
                    prop_assert_eq!(taken(&row, class), expected);
                    if let Some(place) = expected {
                        model.insert(place, Class::Open);
                    }
                }
            }
        }
    }

    #[test]
    fn places_and_ports_are_the_same_in_another_order(seed: u32, n: u16) {
        prop_assert_eq!(place(port(u32::from(n), seed), seed), u32::from(n));
        prop_assert_eq!(port(place(n, seed), seed), n);
    }
}
