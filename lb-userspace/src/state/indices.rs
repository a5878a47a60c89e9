//! Which of the kernel's indices are taken, a bit for each.

const BITS: usize = u64::BITS as usize;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indices {
    /// Never ends with zeros.
    words: Vec<u64>,
    taken: u32,
}

impl Indices {
    /// How many are taken.
    #[must_use]
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }

    /// The highest that is taken.
    #[must_use]
    pub(super) fn last(&self) -> Option<u16> {
        let word = self.words.last()?;
        let index = self.words.len() * BITS - 1 - word.leading_zeros() as usize;
        u16::try_from(index).ok()
    }

    /// Takes the lowest that is free and below `limit`.
    pub(super) fn take(&mut self, limit: u32) -> Option<u16> {
        let place = self.words.iter().position(|word| *word != u64::MAX);
        let place = place.unwrap_or(self.words.len());
        let word = self.words.get(place).copied().unwrap_or(0);
        let index = u16::try_from(place * BITS + word.trailing_ones() as usize).ok()?;
        if u32::from(index) >= limit {
            return None;
        }
        self.mark(index);
        Some(index)
    }

    pub(super) fn give_back(&mut self, index: u16) {
        let (place, bit) = place(index);
        let Some(word) = self.words.get_mut(place).filter(|word| **word & bit != 0) else {
            return;
        };
        *word &= !bit;
        self.taken -= 1;
        while self.words.last() == Some(&0) {
            self.words.pop();
        }
    }

    fn mark(&mut self, index: u16) {
        let (place, bit) = place(index);
        if self.words.len() <= place {
            self.words.resize(place + 1, 0);
        }
        if self.words[place] & bit == 0 {
            self.words[place] |= bit;
            self.taken += 1;
        }
    }
}

impl FromIterator<u16> for Indices {
    fn from_iter<I: IntoIterator<Item = u16>>(indices: I) -> Self {
        let mut all = Self::default();
        for index in indices {
            all.mark(index);
        }
        all
    }
}

fn place(index: u16) -> (usize, u64) {
    let index = usize::from(index);
    (index / BITS, 1 << (index % BITS))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn they_are_a_set_that_fills_its_gaps(
            steps in prop::collection::vec(prop::option::of(0_u16..200), 0..400),
            limit in 0_u32..200,
        ) {
            let mut indices = Indices::default();
            let mut set = BTreeSet::new();
            for step in steps {
                match step {
                    None => {
                        let lowest = (0..limit as u16).find(|index| !set.contains(index));
                        prop_assert_eq!(indices.take(limit), lowest);
                        set.extend(lowest);
                    }
                    Some(index) => {
                        indices.give_back(index);
                        set.remove(&index);
                    }
                }
                prop_assert_eq!(indices.taken() as usize, set.len());
                prop_assert_eq!(indices.last(), set.last().copied());
                prop_assert_eq!(&indices, &set.iter().copied().collect());
            }
        }
    }

    #[test]
    fn the_last_index_is_one_less_than_sixteen_bits_hold() {
        let mut all: Indices = (0..u16::MAX).collect();
        assert_eq!(all.take(u32::from(u16::MAX)), None);
        all.give_back(40_000);
        assert_eq!(all.take(u32::from(u16::MAX)), Some(40_000));
    }
}
