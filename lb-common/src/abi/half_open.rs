//! The table of half-open flows: a cache of eight ways, in an array.
//!
//! A flood of SYNs writes an entry for each, and so this table is the price of a
//! new flow. The kernel's LRU hash would do, at several times the price: it keeps
//! lists, under locks, of elements that lie anywhere. Here a key can lie in one
//! [`Bucket`] only, in any of its [`WAYS`]; the bucket's marks, one word per way,
//! are one line of memory and say all that a search has to know. There are no
//! locks: whoever changes a [`Mark`] does it with one compare-and-exchange, the
//! kernel program on any CPU as well as the agent, which has the array in its
//! memory.
//!
//! What is full evicts: a new flow takes the way that was silent for longest. With
//! every eighth way taken, one bucket in a million is full; with half of them, one
//! in fifty. So the table is made large, and does its work when it is far from full.

use super::{
    address::{Addr4, Addr6, Address},
    flow::{Flow, FlowKey},
    plain::plain,
};

/// Entries per bucket: as many as marks fill a line of memory.
pub const WAYS: usize = 8;

/// The hash of a key: its high bits choose the bucket, its low ones are the tag.
/// `seed` is the program's secret, so that nobody can fill one bucket at will.
#[inline(always)]
#[must_use]
pub fn hash<A: Address>(key: &FlowKey<A>, seed: u32) -> u32 {
    key.hash(seed ^ key.protocol)
}

/// The buckets for so many entries.
#[must_use]
pub const fn buckets(entries: u32) -> u32 {
    entries.div_ceil(WAYS as u32)
}

/// Where the entries of some keys lie.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Bucket<A: Address> {
    pub marks: [Mark; WAYS],
    pub ways: [Way<A>; WAYS],
}

/// One entry, valid as its mark says.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct Way<A: Address> {
    pub key: FlowKey<A>,
    pub flow: Flow<A>,
}

/// What a way holds, in one word:
///
/// | bits | |
/// |---|---|
/// | 40–63 | a part of the key's hash |
/// | 16–39 | when the entry was last looked up, in ticks (they wrap after 4.8 h) |
/// | 2–15 | how many entries the way has had, so that no two marks are alike |
/// | 1 | the entry is whole |
/// | 0 | the way is taken |
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Mark(pub u64);

const TAKEN: u64 = 1;
/// The bit that makes an entry valid, once it is written.
pub const WHOLE: u64 = 2;
const GENERATION: u64 = 0xFFFC;
const ONE_GENERATION: u64 = 4;
const WHEN_SHIFT: u32 = 16;
const WHEN: u64 = 0xFF_FFFF << WHEN_SHIFT;
const TAG: u64 = 0xFF_FFFF << 40;

/// How many ticks another CPU's time may be ahead: what it has just looked up must
/// not seem to be of an age ago.
const AHEAD: u64 = 64;

impl Mark {
    /// The tag of a hash, in its place. The bucket is chosen by the high bits of
    /// the hash, so the tag is of the low ones.
    #[inline(always)]
    #[must_use]
    pub const fn tag(hash: u32) -> u64 {
        (hash as u64) << 40
    }

    /// The way is taken by an entry of this tag, whole or not yet.
    #[inline(always)]
    #[must_use]
    pub const fn has(self, tag: u64) -> bool {
        (self.0 ^ tag) & (TAG | TAKEN) == TAKEN
    }

    /// The way holds an entry of this tag.
    #[inline(always)]
    #[must_use]
    pub const fn holds(self, tag: u64) -> bool {
        (self.0 ^ tag) & (TAG | WHOLE | TAKEN) == WHOLE | TAKEN
    }

    #[inline(always)]
    #[must_use]
    pub const fn is_whole(self) -> bool {
        self.0 & WHOLE != 0
    }

    /// Of the same entry as `other`, whenever either was read.
    #[inline(always)]
    #[must_use]
    pub const fn is_of(self, other: Self) -> bool {
        (self.0 ^ other.0) & !WHEN == 0
    }

    /// The same entry, looked up now.
    #[inline(always)]
    #[must_use]
    pub const fn seen(self, now: u32) -> Self {
        Self(self.0 & !WHEN | (now as u64) << WHEN_SHIFT & WHEN)
    }

    /// The way taken for another entry, which is not yet whole.
    #[inline(always)]
    #[must_use]
    pub const fn taken(self, tag: u64, now: u32) -> Self {
        let generation = self.0.wrapping_add(ONE_GENERATION) & GENERATION;
        Self(tag | generation | TAKEN).seen(now)
    }

    /// The way without its entry.
    #[inline(always)]
    #[must_use]
    pub const fn free(self) -> Self {
        Self(self.0 & GENERATION)
    }

    /// How many ticks ago the entry was last looked up, and a few more.
    #[inline(always)]
    #[must_use]
    pub const fn age(self, now: u32) -> u64 {
        let now = now as u64 + AHEAD;
        now.wrapping_sub(self.0 >> WHEN_SHIFT) & WHEN >> WHEN_SHIFT
    }

    /// How readily the way is given to a new entry of this tag; 0: not at all,
    /// for somebody is just writing to it. At most 27 bits.
    ///
    /// One of the same tag goes first, so that no bucket has two: a look-up asks
    /// one way only. Then a free way, then the one that was silent for longest.
    ///
    /// Without a branch: the verifier would walk through all combinations of those
    /// of eight ways.
    #[inline(always)]
    #[must_use]
    pub const fn worth(self, tag: u64, now: u32) -> u64 {
        let taken = self.0 & TAKEN;
        let whole = self.0 >> 1 & 1;
        let other = (self.0 ^ tag) >> 40;
        // All ones where there is no difference.
        let same = (other.wrapping_sub(1) as i64 >> 63) as u64;
        let whole = whole.wrapping_neg();
        (taken ^ 1) << 25 | whole & (self.age(now) | 1) | whole & same & 1 << 26
    }
}

plain!(Mark, Way<Addr4>, Way<Addr6>, Bucket<Addr4>, Bucket<Addr6>);

// Whole lines of memory, so that marks never share one.
const _: () = assert!(size_of::<Bucket<Addr4>>() == 11 * 64);
const _: () = assert!(size_of::<Bucket<Addr6>>() == 14 * 64);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::flow::Ports, *};

    const NOW: u32 = 1_000_000;

    #[test]
    fn tcp_and_udp_between_the_same_ports_have_two_hashes() {
        let of = |protocol| {
            let (source, destination) = (Addr4(0x0200_000A), Addr4(0x0100_000A));
            let ports = Ports::new(40_000, 53);
            let key = FlowKey {
                source,
                destination,
                ports,
                protocol,
            };
            hash(&key, 7)
        };
        assert_ne!(of(6), of(17));
    }

    #[test]
    fn a_way_is_given_to_its_own_tag_first_then_when_free_then_by_age() {
        let tag = Mark::tag(0xAB_CDEF);
        let other = Mark::tag(0x12_3456);
        let whole = |tag, seen| Mark(Mark::default().taken(tag, seen).0 | WHOLE);
        let order = [
            whole(tag, NOW),
            Mark::default(),
            whole(other, NOW - 60_000),
            whole(other, NOW - 1),
            whole(other, NOW),
            whole(other, NOW).free().taken(other, NOW),
        ];
        let worth = order.map(|mark| mark.worth(tag, NOW));
        // The age's last bit is set always: 0 and 1 are alike.
        assert!(worth.windows(2).all(|w| w[0] >= w[1]), "{worth:?}");
        assert!(worth[0] > worth[1] && worth[1] > worth[2] && worth[2] > worth[3]);
        assert_eq!(worth[5], 0, "somebody is writing there");
        assert!(worth[4] > 0);
    }

    #[test]
    fn the_age_is_right_over_the_wrap_of_the_ticks() {
        let tag = Mark::tag(1);
        let mark = Mark(Mark::default().taken(tag, u32::MAX - 50).0 | WHOLE);
        assert_eq!(mark.worth(Mark::tag(2), 49), (100 + AHEAD) | 1);
    }

    #[test]
    fn what_another_cpu_has_just_seen_is_young() {
        let tag = Mark::tag(1);
        let of = |seen| Mark(Mark::default().taken(tag, seen).0 | WHOLE).worth(Mark::tag(2), NOW);
        assert!(of(NOW + 3) <= of(NOW) && of(NOW) < of(NOW - 100));
    }

    proptest! {
        #[test]
        fn a_mark_is_of_one_entry_only(word: u64, hash: u32, now: u32, later: u32) {
            let tag = Mark::tag(hash);
            let taken = Mark(word).taken(tag, now);
            prop_assert!(taken.has(tag) && !taken.is_whole());
            let whole = Mark(taken.0 | WHOLE);
            prop_assert!(whole.is_of(whole.seen(later)) && whole.seen(later).has(tag));
            // The next to have the way, and the free way, are not it.
            let next = Mark(whole.taken(tag, now).0 | WHOLE);
            prop_assert!(!next.is_of(whole));
            let free = whole.free();
            prop_assert!(!free.is_of(whole) && !free.has(tag) && !free.is_whole());
            prop_assert!(!Mark(free.taken(tag, now).0 | WHOLE).is_of(whole));
            prop_assert!(whole.worth(tag, later) < 1 << 27);
        }
    }
}
