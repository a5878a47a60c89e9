//! The hash that names a flow's slot.

use crate::abi::{address::Address, flow::FlowKey};

/// Mixes a word in: the body of MurmurHash3's 32-bit variant.
#[inline(always)]
const fn mix(hash: u32, word: u32) -> u32 {
    let word = word.wrapping_mul(0xCC9E_2D51).rotate_left(15);
    let word = word.wrapping_mul(0x1B87_3593);
    (hash ^ word)
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xE654_6B64)
}

/// Spreads what is left over all bits: MurmurHash3's finalizer.
#[inline(always)]
const fn finish(mut hash: u32) -> u32 {
    hash ^= hash >> 16;
    hash = hash.wrapping_mul(0x85EB_CA6B);
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(0xC2B2_AE35);
    hash ^ (hash >> 16)
}

/// The hash of a flow as its client sends it. The same on every node that uses
/// the same seed; the protocol is part of the listener, and so left out.
#[inline(always)]
#[must_use]
pub fn flow<A: Address>(key: &FlowKey<A>, seed: u32) -> u32 {
    let mut hash = seed;
    let words = key.source.words();
    hash = mix(hash, words[0]);
    if A::V6 {
        hash = mix(hash, words[1]);
        hash = mix(hash, words[2]);
        hash = mix(hash, words[3]);
    }
    hash = mix(hash, key.destination.mix());
    finish(mix(hash, key.ports.0))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::{address::Addr4, flow::Ports};

    #[test]
    fn consecutive_ports_spread_evenly_over_the_slots() {
        const BUCKETS: usize = 64;
        let mut counts = [0_u32; BUCKETS];
        for port in 0..64_000_u16 {
            let key = FlowKey {
                source: Addr4(0x0100_000A),
                destination: Addr4(0x0200_000A),
                ports: Ports::new(port, 80),
                protocol: 6,
            };
            counts[below(flow(&key, 7), BUCKETS as u32) as usize] += 1;
        }
        // 1,000 expected; five standard deviations are 158.
        for count in counts {
            assert!((842..=1158).contains(&count), "{counts:?}");
        }
    }
}
