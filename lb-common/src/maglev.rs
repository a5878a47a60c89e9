//! The Maglev table: which backend a new flow goes to.
//!
//! The table is built in two steps. [`populate`] gives every slot an *owner*
//! among all registered members, as the Maglev paper does (Eisenbud et al.,
//! NSDI 2016, section 3.4), weighted: only a member that joins or leaves, or
//! changes its weight, moves slots of others. [`refill`] then hands the slots of
//! members that are out of service to others, and **moves nobody else's**: each
//! such slot walks a fixed sequence of other slots until it meets one whose
//! owner is in service. When the member comes back, so do its slots, exactly.

/// The largest table; the default too. A prime, as the paper asks.
pub const MAX_SLOTS: usize = 65_537;

/// A slot that leads nowhere. No backend has this index.
pub const NO_BACKEND: u16 = u16::MAX;

/// The largest weight. A weight is a share: 2 gets twice the slots of 1.
pub const MAX_WEIGHT: u16 = 1000;

/// When so few slots have no owner yet, their places in a member's permutation are
/// calculated, which takes less than to walk there: a walk to the last one is half the
/// table long.
const FEW: usize = 128;

/// How many other slots [`refill`] looks at before it picks any member in
/// service. With a twentieth of the weight in service, one slot in a thousand
/// gets that far.
const WALK: u32 = 128;

/// A member's permutation of the table, as far as it has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    backend: u16,
    weight: u16,
    position: u32,
    skip: u32,
    credit: u32,
}

impl Member {
    /// A member known by `id` on every node. `slots` is the table's length.
    #[must_use]
    pub fn new(backend: u16, id: &[u8], weight: u16, slots: usize) -> Self {
        let slots = slots as u64;
        // Two independent halves of one hash: where to begin, and the stride.
        let hash = hash(id);
        Self {
            backend,
            weight: weight.clamp(1, MAX_WEIGHT),
            position: ((hash >> 32) % slots) as u32,
            skip: ((hash & 0xFFFF_FFFF) % (slots - 1) + 1) as u32,
            credit: 0,
        }
    }
}

/// FNV-1a in 64 bits with a finalizer.
fn hash(bytes: &[u8]) -> u64 {
    let mut hash = 0xCBF2_9CE4_8422_2325_u64;
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    }
    spread(hash)
}

/// `SplitMix64`'s finalizer.
const fn spread(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Gives every slot an owner. The order of `members` is part of the result, so
/// sort them by id first. With no members all slots are [`NO_BACKEND`].
///
/// # Panics
/// If `owners` is shorter than 2 or longer than [`MAX_SLOTS`]: its length must be a prime.
pub fn populate(members: &mut [Member], owners: &mut [u16]) {
    assert!(
        (2..=MAX_SLOTS).contains(&owners.len()),
        "a Maglev table has a prime number of slots"
    );
    // A bit for each slot that has an owner: most of the work is to look for one that has
    // none, and the bits lie in the first cache, where the owners have no room.
    let mut taken = [0_u64; MAX_SLOTS.div_ceil(64)];
    let bit = |slot: u32| (slot as usize / 64, 1_u64 << (slot % 64));
    owners.fill(NO_BACKEND);
    let Some(heaviest) = members.iter().map(|m| u32::from(m.weight)).max() else {
        return;
    };
    let slots = owners.len() as u32;
    let mut left = owners.len();
    let mut few = [0_u32; FEW];
    if left <= FEW {
        list(owners, &mut few);
    }
    loop {
        for member in &mut *members {
            // The heaviest takes a slot each round, the others in proportion.
            member.credit += u32::from(member.weight);
            if member.credit < heaviest {
                continue;
            }
            member.credit -= heaviest;
            if left <= FEW {
                member.position = member.take_next(&mut few[..left], slots);
            } else {
                let (mut word, mut mask) = bit(member.position);
                while taken[word] & mask != 0 {
                    member.advance(slots);
                    (word, mask) = bit(member.position);
                }
                taken[word] |= mask;
            }
            owners[member.position as usize] = member.backend;
            member.advance(slots);
            left -= 1;
            if left == 0 {
                return;
            }
            if left == FEW {
                list(owners, &mut few);
            }
        }
    }
}

/// Writes the slots without an owner to `few`.
fn list(owners: &[u16], few: &mut [u32]) {
    let free = (0..).zip(owners).filter(|(_, b)| **b == NO_BACKEND);
    for (to, (slot, _)) in few.iter_mut().zip(free) {
        *to = slot;
    }
}

impl Member {
    fn advance(&mut self, slots: u32) {
        self.position += self.skip;
        if self.position >= slots {
            self.position -= slots;
        }
    }

    /// The one of these slots that comes next in the permutation. The last of them takes
    /// its place in the list.
    fn take_next(&self, few: &mut [u32], slots: u32) -> u32 {
        let slots = u64::from(slots);
        let times = |a: u64, b: u64| a * b % slots;
        // What undoes the stride: the number of slots is a prime (Fermat).
        let (mut inverse, mut power, mut exponent) = (1, u64::from(self.skip), slots - 2);
        while exponent > 0 {
            if exponent % 2 == 1 {
                inverse = times(inverse, power);
            }
            power = times(power, power);
            exponent /= 2;
        }
        let steps = |slot: u32| times(u64::from(slot) + slots - u64::from(self.position), inverse);
        let mut next = 0;
        let mut fewest = u64::MAX;
        for (place, slot) in few.iter().enumerate() {
            let steps = steps(*slot);
            if steps < fewest {
                (next, fewest) = (place, steps);
            }
        }
        let slot = few[next];
        few[next] = few[few.len() - 1];
        slot
    }
}

/// Writes to `table` the owner of each slot if it is in service, and another
/// member that is if not. With none in service all are [`NO_BACKEND`].
///
/// # Panics
/// If the lengths differ.
pub fn refill(owners: &[u16], in_service: impl Fn(u16) -> bool, table: &mut [u16]) {
    assert_eq!(
        owners.len(),
        table.len(),
        "owners and table are of one size"
    );
    let slots = owners.len() as u64;
    let any = owners
        .iter()
        .copied()
        .find(|b| *b != NO_BACKEND && in_service(*b));
    for (slot, (owner, out)) in owners.iter().zip(table.iter_mut()).enumerate() {
        *out = if *owner != NO_BACKEND && in_service(*owner) {
            *owner
        } else if any.is_none() {
            NO_BACKEND
        } else {
            let walk =
                |step| owners[(spread(slot as u64 ^ u64::from(step) << 32) % slots) as usize];
            (1..=WALK)
                .map(walk)
                .find(|b| in_service(*b))
                .or(any)
                .unwrap_or(NO_BACKEND)
        };
    }
}

#[cfg(test)]
mod tests;
