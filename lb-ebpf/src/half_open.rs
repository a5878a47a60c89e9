//! The tables of half-open flows, as the program works on them:
//! [`lb_common::abi::half_open`] says what they are.
//!
//! Searching, writing and removing are functions of their own, one per family: the verifier
//! walks through each of them once, however often they are called.

use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        flow::{Flow, FlowKey, HALF_OPEN_TICKS, RENEWS},
        half_open::{self, Bucket, Mark, WAYS, WHOLE, Way},
    },
    hash,
};

use crate::{
    atomic,
    family::Family,
    flow::{self, Entry},
    maps,
    nat_port::NatPorts,
};

/// The buckets of each table. The agent sets it together with the size of the
/// maps, when it loads the program.
#[unsafe(no_mangle)]
static HALF_OPEN_BUCKETS: u32 = maps::BUCKETS;

/// A family whose table can be searched, by the functions at the end of this file: all
/// return 0 for no.
pub(crate) trait HalfOpen: NatPorts {
    /// One more than the entry's number.
    fn find(key: &FlowKey<Self>, now: u32) -> u32;
    fn remove(key: &FlowKey<Self>, now: u32) -> u32;
    fn put(key: &FlowKey<Self>, entry: &Flow<Self>, now: u32, only_new: u32) -> u32;
}

/// How often another CPU may be faster.
const TRIES: usize = 3;

/// The entry of a half-open flow, in place. Under a flood another flow may take it
/// over at any time; so nothing that lasts is made of it, but of what [`read`] says.
#[inline(always)]
pub(crate) fn entry<A: HalfOpen>(key: &FlowKey<A>, now: u32) -> Option<Entry<A>> {
    let (_, way) = place(A::find(key, now))?;
    // SAFETY: `place` gives a way of the table.
    Some(Entry::new(unsafe { &raw mut (*way).flow }))
}

/// As above, if it is of a handshake, and not only of a SYN on an open flow.
#[inline(always)]
pub(crate) fn handshake<A: HalfOpen>(key: &FlowKey<A>, now: u32) -> Option<Entry<A>> {
    entry(key, now).filter(|entry| entry.state() & RENEWS == 0)
}

/// Copies the entry of a half-open flow; false if there is none, or another took
/// its place while it was read.
#[inline(always)]
pub(crate) fn read<A: HalfOpen>(key: &FlowKey<A>, now: u32, entry: &mut Flow<A>) -> bool {
    let Some((word, way)) = place(A::find(key, now)) else {
        return false;
    };
    let before = mark(word);
    // SAFETY: `place` gives a way of the table. Others may write to it now; then
    // its mark says so below, and what was read is not used.
    let same = unsafe {
        flow::copy(&raw const (*way).flow, entry);
        (*way).key == *key
    };
    same && before.is_whole() && before.is_of(mark(word))
}

/// Takes a half-open flow out of its table, if it is there.
#[inline(always)]
pub(crate) fn remove<A: HalfOpen>(key: &FlowKey<A>, now: u32) {
    // Not there, or taken out by somebody else, is as good.
    A::remove(key, now);
}

/// Puts an entry into the table, over what is there. False if other CPUs were faster
/// to take the way that was chosen, again and again.
#[inline(always)]
pub(crate) fn put<A: HalfOpen>(key: &FlowKey<A>, entry: &Flow<A>, now: u32) -> bool {
    (0..TRIES).any(|_| A::put(key, entry, now, 0) != 0)
}

/// As above, but only where nothing is, or what nobody has looked up for so long that
/// its ports are free again. False if the key is taken, or just being taken.
#[inline(always)]
pub(crate) fn put_new<A: HalfOpen>(key: &FlowKey<A>, entry: &Flow<A>, now: u32) -> bool {
    A::put(key, entry, now, 1) != 0
}

/// Where a key may lie, and what its mark has of it.
#[inline(always)]
fn home<A: Family>(key: &FlowKey<A>) -> Option<(u32, *mut Bucket<A>, u64)> {
    let seed = maps::SETTINGS.get(0)?.nat_seed;
    let hash = half_open::hash(key, seed);
    // SAFETY: a constant of the program, which the loader may have changed.
    let buckets = unsafe { (&raw const HALF_OPEN_BUCKETS).read_volatile() };
    let index = hash::below(hash, buckets) as u32;
    let bucket = A::half_open().get_ptr_mut(index)?;
    Some((index, bucket, Mark::tag(hash)))
}

/// What [`find`] has found: the mark's word and the way.
#[inline(always)]
fn place<A: Family>(found: u32) -> Option<(*mut u64, *mut Way<A>)> {
    if found == 0 {
        return None;
    }
    let bucket = A::half_open().get_ptr_mut((found - 1) / WAYS as u32)?;
    Some(part(bucket, (found - 1) as usize))
}

/// A way with its mark's word.
#[inline(always)]
fn part<A: Family>(bucket: *mut Bucket<A>, way: usize) -> (*mut u64, *mut Way<A>) {
    let way = way % WAYS;
    // SAFETY: the bucket has so many ways.
    unsafe {
        (
            (&raw mut (*bucket).marks[way]).cast(),
            &raw mut (*bucket).ways[way],
        )
    }
}

#[inline(always)]
fn mark(word: *mut u64) -> Mark {
    // SAFETY: a mark's word, which [`part`] gives, is aligned and valid.
    Mark(unsafe { word.read_volatile() })
}

/// The entry of a key: one more than its number in the table, or 0.
#[inline(always)]
fn find<A: Family>(key: &FlowKey<A>, now: u32) -> u32 {
    let Some((index, bucket, tag)) = home(key) else {
        return 0;
    };
    for number in 0..WAYS {
        let (word, way) = part(bucket, number);
        let found = mark(word);
        if found.holds(tag) {
            // SAFETY: `part` gives a way of the table, with its mark.
            unsafe {
                if (*way).key != *key {
                    return 0;
                }
                let seen = found.seen(now);
                if seen != found {
                    // If somebody else was faster, it is noted or gone.
                    atomic::exchange(word, found.0, seen.0);
                }
            }
            return index * WAYS as u32 + number as u32 + 1;
        }
    }
    0
}

#[inline(always)]
fn take_out<A: Family>(key: &FlowKey<A>, now: u32) -> bool {
    let Some((word, way)) = place(find(key, now)) else {
        return false;
    };
    for _ in 0..TRIES {
        let found = mark(word);
        // SAFETY: `place` gives a way of the table, with its mark.
        unsafe {
            if !found.is_whole() || (*way).key != *key {
                return false;
            }
            // It fails if somebody else has just looked the flow up.
            if atomic::exchange(word, found.0, found.free().0) {
                return true;
            }
        }
    }
    false
}

#[inline(always)]
fn write<A: Family>(key: &FlowKey<A>, entry: &Flow<A>, now: u32, only_new: bool) -> bool {
    let Some((_, bucket, tag)) = home(key) else {
        return false;
    };
    let (chosen, worth) = choose(bucket, tag, now);
    let (word, way) = part(bucket, chosen);
    let old = mark(word);
    // What another CPU has put there since is not what was chosen to go.
    if worth == 0 || old.worth(tag, now) != worth {
        return false;
    }
    if only_new && old.holds(tag) && old.age(now) <= HALF_OPEN_TICKS as u64 {
        return false;
    }
    let taken = old.taken(tag, now);
    // SAFETY: `part` gives a way of the table, with its mark; once that says that the
    // way is taken, it is ours to write to.
    unsafe {
        if !atomic::exchange(word, old.0, taken.0) {
            return false;
        }
        if only_new && is_elsewhere(bucket, chosen, tag) {
            atomic::exchange(word, taken.0, taken.free().0);
            return false;
        }
        (*way).key = *key;
        (*way).flow = *entry;
        atomic::publish(word, WHOLE);
    }
    true
}

/// The way that goes to a new entry, and its worth.
#[inline(always)]
fn choose<A: Family>(bucket: *mut Bucket<A>, tag: u64, now: u32) -> (usize, u64) {
    let mut best = 0_u64;
    let mut number = 0;
    while number < WAYS {
        let worth = mark(part(bucket, number).0).worth(tag, now);
        let candidate = worth << 3 | number as u64;
        // The greater of the two, without a branch: see `Mark::worth`.
        let less = (best.wrapping_sub(candidate) as i64 >> 63) as u64;
        best ^= (best ^ candidate) & less;
        number = next(number);
    }
    (best as usize % WAYS, best >> 3)
}

/// Whether another way has the tag: another CPU puts the same key there, at the
/// same time.
#[inline(always)]
fn is_elsewhere<A: Family>(bucket: *mut Bucket<A>, chosen: usize, tag: u64) -> bool {
    let mut number = 0;
    while number < WAYS {
        if number != chosen && mark(part(bucket, number).0).has(tag) {
            return true;
        }
        number = next(number);
    }
    false
}

/// The next number, in a way that keeps the compiler from writing a loop out
/// eight times: that would take more stack than three functions may share.
#[inline(always)]
fn next(number: usize) -> usize {
    #[cfg(target_arch = "bpf")]
    {
        let mut next = number;
        // SAFETY: one addition.
        unsafe {
            core::arch::asm!("{0} += 1", inout(reg) next, options(nostack, nomem, pure));
        }
        next
    }
    // For the editor on the host.
    #[cfg(not(target_arch = "bpf"))]
    {
        number + 1
    }
}

// As in `main`: `extern "C"` over pointers to what has a size is the form that the
// verifier accepts, and it wants to see them compared with null.

macro_rules! functions {
    ($address:ty, $find:ident, $put:ident, $remove:ident) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $find(key: *const FlowKey<$address>, now: u32) -> u32 {
            // SAFETY: callers pass a reference; the verifier has seen that.
            match unsafe { key.as_ref() } {
                Some(key) => find(key, now),
                None => 0,
            }
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $remove(key: *const FlowKey<$address>, now: u32) -> u32 {
            // SAFETY: as above.
            match unsafe { key.as_ref() } {
                Some(key) => take_out(key, now) as u32,
                None => 0,
            }
        }

        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $put(
            key: *const FlowKey<$address>,
            entry: *const Flow<$address>,
            now: u32,
            only_new: u32,
        ) -> u32 {
            // SAFETY: as above.
            match unsafe { (key.as_ref(), entry.as_ref()) } {
                (Some(key), Some(entry)) => write(key, entry, now, only_new != 0) as u32,
                _ => 0,
            }
        }

        impl HalfOpen for $address {
            #[inline(always)]
            fn find(key: &FlowKey<Self>, now: u32) -> u32 {
                $find(key, now)
            }
            #[inline(always)]
            fn remove(key: &FlowKey<Self>, now: u32) -> u32 {
                $remove(key, now)
            }
            #[inline(always)]
            fn put(key: &FlowKey<Self>, entry: &Flow<Self>, now: u32, only_new: u32) -> u32 {
                $put(key, entry, now, only_new)
            }
        }
    };
}

functions!(
    Addr4,
    find_half_open_v4,
    put_half_open_v4,
    remove_half_open_v4
);
functions!(
    Addr6,
    find_half_open_v6,
    put_half_open_v6,
    remove_half_open_v6
);
