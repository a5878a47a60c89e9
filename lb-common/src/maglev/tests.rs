use std::{format, string::String, vec, vec::Vec};

use super::*;
use proptest::prelude::*;

fn owners(ids: &[(u16, String, u16)], slots: usize) -> Vec<u16> {
    let mut members: Vec<_> = ids
        .iter()
        .map(|(b, id, w)| Member::new(*b, id.as_bytes(), *w, slots))
        .collect();
    let mut owners = vec![0; slots];
    populate(&mut members, &mut owners);
    owners
}

fn named(n: u16) -> Vec<(u16, String, u16)> {
    (0..n).map(|i| (i, format!("web-{i:04}"), 1)).collect()
}

fn counts(table: &[u16], n: u16) -> Vec<u32> {
    let mut counts = vec![0; usize::from(n)];
    for b in table {
        counts[usize::from(*b)] += 1;
    }
    counts
}

#[test]
fn equal_weights_get_equal_shares() {
    for n in [1_u16, 3, 10, 100, 1000] {
        let counts = counts(&owners(&named(n), MAX_SLOTS), n);
        let (min, max) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
        assert!(max - min <= 1, "{n} members: {min}..{max}");
    }
}

#[test]
fn weights_are_shares() {
    let ids: Vec<_> = [1_u16, 2, 3, 10]
        .iter()
        .enumerate()
        .map(|(i, w)| (i as u16, format!("b{i}"), *w))
        .collect();
    let counts = counts(&owners(&ids, MAX_SLOTS), 4);
    for ((_, _, weight), count) in ids.iter().zip(counts) {
        let expected = f64::from(*weight) * MAX_SLOTS as f64 / 16.0;
        let off = (f64::from(count) - expected).abs() / expected;
        assert!(off < 0.01, "weight {weight}: {count}, expected {expected}");
    }
}

#[test]
fn one_out_of_service_moves_no_slot_of_another() {
    let owners = owners(&named(1000), MAX_SLOTS);
    let mut table = vec![0; MAX_SLOTS];
    refill(&owners, |b| b != 500, &mut table);
    let foreign = owners
        .iter()
        .zip(&table)
        .filter(|(o, t)| **o != 500 && o != t)
        .count();
    assert_eq!(foreign, 0);
    assert!(!table.contains(&500));
    // Its 65 or 66 slots are spread, not heaped on one neighbour.
    let most = counts(&table, 1000).into_iter().max().unwrap();
    assert!(most <= 66 + 5, "one member took {most} slots");
}

#[test]
fn a_member_that_leaves_moves_few_slots_of_others() {
    let before = owners(&named(1000), MAX_SLOTS);
    let mut without = named(1000);
    without.remove(500);
    let after = owners(&without, MAX_SLOTS);
    let foreign = before
        .iter()
        .zip(&after)
        .filter(|(b, a)| **b != 500 && b != a)
        .count();
    let share = foreign as f64 / MAX_SLOTS as f64;
    assert!(share < 0.05, "{share}");
}

proptest! {
    #[test]
    fn only_members_in_service_are_in_the_table(
        weights in prop::collection::vec(1..=MAX_WEIGHT, 0..20),
        out in any::<u32>(),
        slots in prop::sample::select(vec![2_usize, 3, 251, 1009]),
    ) {
        let ids: Vec<_> = weights.iter().enumerate().map(|(i, w)| (i as u16, format!("{i}"), *w)).collect();
        let owners = owners(&ids, slots);
        let in_service = |b: u16| b != NO_BACKEND && out & (1 << b) == 0;
        let mut table = vec![0; slots];
        refill(&owners, in_service, &mut table);
        let any = owners.iter().any(|b| in_service(*b));
        for (owner, slot) in owners.iter().zip(&table) {
            if any { prop_assert!(in_service(*slot)); } else { prop_assert_eq!(*slot, NO_BACKEND); }
            if in_service(*owner) { prop_assert_eq!(owner, slot); }
        }
    }

    #[test]
    fn going_out_one_after_the_other_moves_only_what_must(
        n in 2_u16..40, first in any::<u16>(), second in any::<u16>(),
    ) {
        let (first, second) = (first % n, second % n);
        prop_assume!(first != second);
        let owners = owners(&named(n), 1009);
        let (mut one, mut two) = (vec![0; 1009], vec![0; 1009]);
        refill(&owners, |b| b != first, &mut one);
        refill(&owners, |b| b != first && b != second, &mut two);
        if n > 2 {
            for (a, b) in one.iter().zip(&two) { prop_assert!(a == b || *a == second); }
        }
    }
}

/// As the paper has it, step by step.
fn plainly(members: &mut [Member], owners: &mut [u16]) {
    owners.fill(NO_BACKEND);
    let heaviest = members.iter().map(|m| u32::from(m.weight)).max().unwrap();
    let slots = owners.len() as u32;
    let mut left = owners.len();
    while left > 0 {
        for member in &mut *members {
            member.credit += u32::from(member.weight);
            if member.credit < heaviest || left == 0 {
                continue;
            }
            member.credit -= heaviest;
            while owners[member.position as usize] != NO_BACKEND {
                member.advance(slots);
            }
            owners[member.position as usize] = member.backend;
            member.advance(slots);
            left -= 1;
        }
    }
}

proptest! {
    #[test]
    fn what_is_calculated_is_what_a_walk_finds(
        weights in prop::collection::vec(1..=MAX_WEIGHT, 1..40),
        seed in any::<u32>(),
        slots in prop::sample::select(vec![2_usize, 3, 101, 127, 131, 251, 1009, MAX_SLOTS]),
    ) {
        let members: Vec<_> = (0..)
            .zip(&weights)
            .map(|(b, w)| Member::new(b, format!("{seed}-{b}").as_bytes(), *w, slots))
            .collect();
        let (mut owners, mut expected) = (vec![0; slots], vec![0; slots]);
        populate(&mut members.clone(), &mut owners);
        plainly(&mut members.clone(), &mut expected);
        prop_assert_eq!(owners, expected);
    }
}
