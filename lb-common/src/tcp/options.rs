//! The options of a TCP header (RFC 9293, section 3.1).
//!
//! They come in any order, and senders fill with [`NO_OPERATION`] as they like.

use crate::wire;

/// Nothing follows.
const END: u8 = 0;
/// The one option that is its kind alone; all others say how long they are.
const NO_OPERATION: u8 = 1;
/// Kind and length of the option for the segment size (RFC 9293, section 3.7.1).
const SEGMENT_SIZE: [u8; 2] = [2, 4];

/// The option for the segment size, whole: kind, length, and the size.
pub const SEGMENT_SIZE_LEN: usize = SEGMENT_SIZE[1] as usize;

/// Room for the most that a header can have.
pub const ROOM: usize = wire::MOST_TCP_LEN - wire::TCP_LEN;

/// All options of a header, and zeros behind them.
pub type Options = [u8; ROOM];

/// The last place where the option for the segment size can begin.
const LAST_PLACE: usize = ROOM - SEGMENT_SIZE_LEN;

/// Where the option for the segment size begins, if a receiver would find one.
#[inline(always)]
#[must_use]
pub fn segment_size(options: &Options) -> Option<usize> {
    let mut at = 0;
    for _ in 0..=LAST_PLACE {
        if at > LAST_PLACE {
            return None;
        }
        let [kind, len] = [options[at], options[at + 1]];
        if [kind, len] == SEGMENT_SIZE {
            return Some(at);
        }
        // All ones if it is its kind alone. Without a branch: with one, the verifier would
        // walk through two ways for each option, and so through 2^37 of them.
        let alone = (((kind ^ NO_OPERATION) as i64) - 1) >> 63;
        let len = len as i64;
        let len = len ^ (len ^ 1) & alone;
        // A length counts its own two bytes.
        if kind == END || len < 2 + alone {
            return None;
        }
        at += len as usize;
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As a receiver has it in its books.
    fn read(options: &[u8]) -> Option<usize> {
        let mut rest = options;
        loop {
            rest = match rest {
                [END, ..] | [] => return None,
                [NO_OPERATION, rest @ ..] => rest,
                [2, 4, _, _, ..] => return Some(options.len() - rest.len()),
                [_, len, ..] if *len >= 2 => rest.get((*len).into()..)?,
                _ => return None,
            }
        }
    }

    /// Bytes that are options, mostly.
    fn options() -> impl Strategy<Value = Vec<u8>> {
        let option = prop_oneof![
            4 => Just(vec![NO_OPERATION]),
            2 => Just(vec![4, 2]),
            2 => Just(vec![3, 3, 7]),
            2 => any::<[u8; 8]>().prop_map(|time| [&[8, 10][..], &time].concat()),
            2 => any::<[u8; 2]>().prop_map(|size| [&SEGMENT_SIZE[..], &size].concat()),
            1 => any::<[u8; 2]>().prop_map(Vec::from),
            1 => Just(vec![END]),
        ];
        prop::collection::vec(option, 0..20).prop_map(|all| all.concat())
    }

    proptest! {
        #[test]
        fn it_is_found_where_a_receiver_finds_it(said in options()) {
            let mut all = [0; ROOM];
            let len = said.len().min(ROOM);
            all[..len].copy_from_slice(&said[..len]);
            prop_assert_eq!(segment_size(&all), read(&all));
        }
    }

    #[test]
    fn it_is_found_in_every_place() {
        for place in 0..=LAST_PLACE {
            let mut all = [NO_OPERATION; ROOM];
            all[place..place + 2].copy_from_slice(&SEGMENT_SIZE);
            assert_eq!(segment_size(&all), Some(place));
        }
    }
}
