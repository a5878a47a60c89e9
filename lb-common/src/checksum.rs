//! The internet checksum (RFC 1071), whole and by difference (RFC 1624).
//!
//! All sums are over words as they lie in memory; byte order does not matter as
//! long as it is the same on both sides (RFC 1071, section 2 B).

/// Folds a sum of 16- or 32-bit words to 16 bits.
#[inline(always)]
#[must_use]
pub const fn fold(sum: u64) -> u16 {
    // A number plus itself with its halves swapped: the upper half of that is
    // the sum of both halves, with the carry of the lower brought in.
    let sum = fold_once(sum);
    (sum.wrapping_add(sum.rotate_left(16)) >> 16) as u16
}

/// Folds it to 32 bits: what the kernel takes as a difference.
#[inline(always)]
#[must_use]
pub const fn fold_once(sum: u64) -> u32 {
    (sum.wrapping_add(sum.rotate_left(32)) >> 32) as u32
}

/// The difference that replaces words summing to `old` (each a 32-bit word,
/// `words` of them) by words summing to `new`.
#[inline(always)]
#[must_use]
pub const fn difference(old: u64, new: u64, words: u64) -> u64 {
    // The complement of each old word, summed, is words·(2³²−1) − old.
    words * 0xFFFF_FFFF - old + new
}

/// A checksum field after a change of what it covers.
#[inline(always)]
#[must_use]
pub const fn updated(field: u16, difference: u64) -> u16 {
    // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
    !fold((!field) as u64 + difference)
}

/// The sum over bytes, not folded; an odd last byte counts as if a zero
/// followed. For the host; the kernel program sums words.
#[must_use]
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let whole: u64 = words
        .iter()
        .map(|w| u64::from(u16::from_ne_bytes(*w)))
        .sum();
    let last = rest
        .first()
        .map_or(0, |b| u64::from(u16::from_ne_bytes([*b, 0])));
    whole + last
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_sum_of_rfc_1071_section_3() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(sum(&bytes)), u16::from_ne_bytes([0xdd, 0xf2]));
    }

    proptest! {
        #[test]
        fn a_difference_gives_what_summing_anew_gives(
            mut words in prop::collection::vec(any::<u32>(), 2..20),
            at in any::<prop::sample::Index>(),
            new in any::<u32>(),
        ) {
            let total = |w: &[u32]| w.iter().map(|x| u64::from(*x)).sum::<u64>();
            let before = !fold(total(&words));
            let at = at.index(words.len());
            let old = std::mem::replace(&mut words[at], new);
            let by_difference = updated(before, difference(u64::from(old), u64::from(new), 1));
            let anew = !fold(total(&words));
            // 0x0000 and 0xFFFF are the same number in ones' complement.
            prop_assert!(by_difference == anew || by_difference ^ anew == 0xFFFF && (anew == 0 || anew == 0xFFFF));
        }
    }
}
