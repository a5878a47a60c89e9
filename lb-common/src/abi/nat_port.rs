//! Which ports nat has bound, and which of them it can have back.
//!
//! Towards one backend and port, from one source address, a port serves one flow. The
//! flow tables say which; what they cannot say without being searched is which is free.
//! So there are [`Row`]s, each with a bit for every port and class of port. A row is taken by
//! the first who needs it, near where a hash leads, and named after all that two flows with
//! the same port have in common ([`Owner`]): where more of those are in use than there are
//! rows, some share the ports of one.
//!
//! A new flow takes the first port after the row's cursor that is free. If none is, it takes
//! one that is bound to a flow which can do without: one that has closed, then one whose
//! backend has not answered, then one whose client has said nothing since the answer
//! ([`Class`]). The cursor goes round, so in each class the port that was bound the
//! longest ago comes first, and a port that has become free is left alone for as long as
//! can be: its backend may remember it.
//!
//! Ports follow each other in an order that only who knows the seed can tell
//! ([`port`]): to guess a flow's port is to guess 16 bits (RFC 6056).
//!
//! The bits are hints. Whoever takes a port asks the flow tables, too; so what was lost
//! with an agent, or was changed by two CPUs at once, costs another try and no flow.
//!
//! A search reads a few words, however full the row is: of every 64 words one bit each
//! says whether there is anything in them.

use super::{address::Address, flow::FlowKey, plain::plain};
use crate::hash;

/// Words of a class: a bit per port.
const WORDS: u32 = 65_536 / 64;
/// Words that say which of those have something.
const GROUPS: u32 = WORDS / 64;
/// A class with both.
const SET: u32 = WORDS + GROUPS;
/// What comes before the sets, on a line of memory of its own: the cursor, the owner, and
/// how many ports are bound.
const HEAD: u32 = 8;
const OWNER: u32 = 1;
const BOUND: u32 = 2;
/// Words of a row.
pub const ROW_LEN: usize = (HEAD + SETS * SET) as usize;
/// Classes that have bits.
const SETS: u32 = 4;

/// The ports between a source address and a backend.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Row(pub [u64; ROW_LEN]);
plain!(Row);

/// What is known of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Class {
    /// Nobody has it.
    Free = 0,
    /// Its flow has ended.
    Closed = 1,
    /// Its flow's backend has not answered.
    Unanswered = 2,
    /// Its flow's client has said nothing since the backend has answered.
    Answered = 3,
    /// Its flow is open, and keeps it.
    Open = 4,
}

impl Class {
    /// Those from which a new flow takes its port, in this order.
    pub const TAKEN_FROM: [Self; SETS as usize] =
        [Self::Free, Self::Closed, Self::Unanswered, Self::Answered];
}

/// The words of a row, which others may change at any time.
pub trait Words {
    /// A word; `at` is less than [`ROW_LEN`].
    fn load(&self, at: u32) -> u64;
    /// Sets bits, and says what was there before.
    fn set(&self, at: u32, bits: u64) -> u64;
    /// Clears bits, and says what was there before.
    fn clear(&self, at: u32, bits: u64) -> u64;
    /// Writes the first word, which nobody changes by bits.
    fn write_cursor(&self, cursor: u64);
    /// Writes the second word if it is zero; false if it was not.
    fn take_over(&self, owner: u64) -> bool;
    /// Adds to the third word, which wraps.
    fn count_bound(&self, more: u64);
}

/// What became of an attempt to take a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// There is none of this class.
    None,
    /// Somebody else was faster.
    Again,
    /// This place is the caller's, who is the only one to have it.
    Place(u32),
}

/// Takes the first place of a class from the cursor on: it is bound, and in no class until
/// it is [`put`].
#[inline(always)]
pub fn take(row: &impl Words, class: Class) -> Taken {
    take_from(row, class as u32)
}

/// As [`take`], by the number of one of the classes that ports are taken from.
#[inline(always)]
pub fn take_from(row: &impl Words, set: u32) -> Taken {
    let from = row.load(0) as u32;
    let word = from >> 6 & (WORDS - 1);
    let mut at = word;
    let mut bits = candidates(row, set, word) & u64::MAX << (from & 63);
    if bits == 0 {
        let next = (word + 1) & (WORDS - 1);
        let mut group = next >> 6;
        let mut seen = groups(row, set, group) & u64::MAX << (next & 63);
        let mut left = GROUPS;
        while seen == 0 && left > 0 {
            group = (group + 1) & (GROUPS - 1);
            seen = groups(row, set, group);
            left -= 1;
        }
        if seen == 0 {
            return Taken::None;
        }
        at = group << 6 | lowest(seen);
        bits = candidates(row, set, at);
        if bits == 0 {
            // Just emptied by somebody who has not said so yet.
            note_emptied(row, set, at);
            return Taken::Again;
        }
    }
    let place = at << 6 | lowest(bits);
    if claim(row, set, place) {
        row.write_cursor(place as u64 + 1);
        Taken::Place(place)
    } else {
        Taken::Again
    }
}

/// The port at this place is of this class from now on.
#[inline(always)]
pub fn put(row: &impl Words, place: u32, class: Class) {
    put_in(row, place, class as u32);
}

/// As [`put`], by the class's number.
#[inline(always)]
pub fn put_in(row: &impl Words, place: u32, class: u32) {
    let mut set = 0;
    while set < SETS {
        if set != class {
            claim(row, set, place);
        }
        set += 1;
    }
    // Last: from here on somebody else may have it.
    if class < SETS {
        offer(row, class, place);
    }
}

/// What a class's words are flipped by, so that a set bit is a port of the class: in memory
/// a free port is a zero, and a new row's ports are free.
#[inline(always)]
const fn flip(set: u32) -> u64 {
    // All ones for the first, without a branch.
    ((set as i64 - 1) >> 63) as u64
}

#[inline(always)]
const fn word_at(set: u32, word: u32) -> u32 {
    HEAD + (set & (SETS - 1)) * SET + (word & (WORDS - 1))
}

#[inline(always)]
const fn group_at(set: u32, group: u32) -> u32 {
    HEAD + (set & (SETS - 1)) * SET + WORDS + (group & (GROUPS - 1))
}

#[inline(always)]
fn candidates(row: &impl Words, set: u32, word: u32) -> u64 {
    row.load(word_at(set, word)) ^ flip(set)
}

#[inline(always)]
fn groups(row: &impl Words, set: u32, group: u32) -> u64 {
    row.load(group_at(set, group)) ^ flip(set)
}

/// Puts a bit into a set as the class sees it.
#[inline(always)]
fn raise(row: &impl Words, set: u32, at: u32, bit: u64) -> bool {
    if set == Class::Free as u32 {
        row.clear(at, bit) & bit != 0
    } else {
        row.set(at, bit) & bit == 0
    }
}

/// Takes a bit out of a set as the class sees it; true if it was there.
#[inline(always)]
fn lower(row: &impl Words, set: u32, at: u32, bit: u64) -> bool {
    if set == Class::Free as u32 {
        row.set(at, bit) & bit == 0
    } else {
        row.clear(at, bit) & bit != 0
    }
}

/// The place is one of the class's from now on.
#[inline(always)]
fn offer(row: &impl Words, set: u32, place: u32) {
    let word = place >> 6;
    let is_new = raise(row, set, word_at(set, word), 1 << (place & 63));
    if is_new && set == Class::Free as u32 {
        row.count_bound(u64::MAX);
    }
    let bit = 1 << (word & 63);
    if groups(row, set, word >> 6) & bit == 0 {
        raise(row, set, group_at(set, word >> 6), bit);
    }
}

/// The place is none of the class's any more; true if it was, and nobody else has taken it.
#[inline(always)]
fn claim(row: &impl Words, set: u32, place: u32) -> bool {
    let word = place >> 6;
    let bit = 1 << (place & 63);
    if candidates(row, set, word) & bit == 0 || !lower(row, set, word_at(set, word), bit) {
        return false;
    }
    if set == Class::Free as u32 {
        row.count_bound(1);
    }
    if candidates(row, set, word) == 0 {
        note_emptied(row, set, word);
    }
    true
}

/// Says that nothing is left in a word of the class. Whoever puts something there meanwhile
/// may have seen the bit that is cleared here, so it is looked at once more.
#[inline(always)]
fn note_emptied(row: &impl Words, set: u32, word: u32) {
    let (at, bit) = (group_at(set, word >> 6), 1 << (word & 63));
    lower(row, set, at, bit);
    if candidates(row, set, word) != 0 {
        raise(row, set, at, bit);
    }
}

/// The number of the lowest bit that is set, of which there is one. The kernel's machine has
/// no instruction for it, and branches would be walked through in all combinations.
#[inline(always)]
const fn lowest(mut bits: u64) -> u32 {
    let mut number = 0;
    let mut half = 32;
    while half > 0 {
        let low = bits & ((1 << half) - 1);
        // One where there is nothing in the lower half.
        let skip = low.wrapping_sub(1) >> 63;
        let shift = skip * half;
        bits >>= shift;
        number += shift;
        half /= 2;
    }
    number as u32 & 63
}

/// What the flows of a row have in common, by the tuple of a backend's packets: the port at
/// the far end of that, which nat chooses, does not count.
#[inline(always)]
#[must_use]
pub fn owner<A: Address>(reply: &FlowKey<A>, seed: u32) -> Owner {
    let mut hash = hash::mix(seed, reply.protocol);
    hash = hash::mix(hash, reply.ports.source() as u32);
    let (backend, source) = (reply.source.words(), reply.destination.words());
    hash = hash::mix(hash, backend[0]);
    hash = hash::mix(hash, source[0]);
    if A::V6 {
        let mut word = 1;
        while word < 4 {
            hash = hash::mix(hash, backend[word]);
            hash = hash::mix(hash, source[word]);
            word += 1;
        }
    }
    // Never zero, which is nobody.
    Owner((hash as u64) << 32 | hash::finish(hash) as u64 | 1)
}

/// Whose a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner(pub u64);

/// How many rows from the first on one may be: where all of them are others', the first is
/// shared.
pub const PROBES: u32 = 8;

impl Owner {
    /// The row to look at in the nth place, of `rows`.
    #[inline(always)]
    #[must_use]
    pub const fn row(self, probe: u32, rows: u32) -> u32 {
        let row = hash::below(self.0 as u32, rows) as u32 + probe;
        if row < rows { row } else { row - rows }
    }

    /// Whether this row is this owner's, who takes it if it is nobody's.
    #[inline(always)]
    pub fn has(self, row: &impl Words) -> bool {
        let before = row.load(OWNER);
        before == self.0 || before == 0 && (row.take_over(self.0) || row.load(OWNER) == self.0)
    }
}

/// Rounds of the permutation.
const ROUNDS: u32 = 4;

/// The port at a place: a permutation that `seed` chooses, of the kind that Feistel's
/// ciphers are.
#[inline(always)]
#[must_use]
pub const fn port(place: u32, seed: u32) -> u16 {
    let (mut left, mut right) = (place >> 8 & 0xFF, place & 0xFF);
    let mut round = 0;
    while round < ROUNDS {
        (left, right) = (right, left ^ scramble(right, seed, round));
        round += 1;
    }
    (left << 8 | right) as u16
}

/// The place of a port: [`port`] the other way.
#[inline(always)]
#[must_use]
pub const fn place(port: u16, seed: u32) -> u32 {
    let (mut left, mut right) = (port as u32 >> 8, port as u32 & 0xFF);
    let mut round = ROUNDS;
    while round > 0 {
        round -= 1;
        (left, right) = (right ^ scramble(left, seed, round), left);
    }
    left << 8 | right
}

#[inline(always)]
const fn scramble(byte: u32, seed: u32, round: u32) -> u32 {
    hash::finish(seed.wrapping_add(round << 8 | byte)) >> 24
}

/// A row of which nobody has a port yet, and where only those from `first` to `last` can
/// be had.
#[must_use]
pub fn blank(first: u16, last: u16, seed: u32) -> [u64; ROW_LEN] {
    let mut words = [0; ROW_LEN];
    for port in (0..=u16::MAX).filter(|port| !(first..=last).contains(port)) {
        let place = place(port, seed);
        words[word_at(0, place >> 6) as usize] |= 1 << (place & 63);
    }
    for word in 0..WORDS {
        if words[word_at(0, word) as usize] == u64::MAX {
            words[group_at(0, word >> 6) as usize] |= 1 << (word & 63);
        }
    }
    words
}

/// The word of a row that says whose it is.
#[must_use]
pub const fn owner_word() -> usize {
    OWNER as usize
}

/// The word of a row that says how many ports flows have bound.
#[must_use]
pub const fn count_word() -> usize {
    BOUND as usize
}

/// The words of a row that say which ports are bound.
#[must_use]
pub const fn bound() -> core::ops::Range<usize> {
    HEAD as usize..(HEAD + WORDS) as usize
}

#[cfg(test)]
mod tests;
