//! The hash that names a flow's slot, step by step, and what is made of it.
//! [`crate::abi::flow::FlowKey::hash`] takes the steps.

/// Mixes a word in: the body of MurmurHash3's 32-bit variant.
#[inline(always)]
#[must_use]
pub const fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xCC9E_2D51).rotate_left(15);
    let word = word.wrapping_mul(0x1B87_3593);
    (hash ^ word)
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xE654_6B64)
}

/// Spreads what is left over all bits: MurmurHash3's finalizer.
#[inline(always)]
#[must_use]
pub const fn finish(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85EB_CA6B);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

/// The next hash after `hash`: where to look when a slot's backend takes none.
#[inline(always)]
#[must_use]
pub const fn again(hash: u32) -> u32 {
    finish(hash.wrapping_add(0x9E37_79B9))
}

/// A number below `n`, as evenly as `hash` is spread, without a division
/// (Lemire, "Fast random integer generation in an interval", 2019).
#[inline(always)]
#[must_use]
pub const fn below(hash: u32, n: u32) -> u64 {
    (hash as u64 * n as u64) >> 32
}

/// FNV-1a over bytes: names to seeds, the same on every node.
#[must_use]
pub const fn name(bytes: &[u8]) -> u32 {
    let mut hash = 0x811C_9DC5_u32;
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    finish(hash)
}
