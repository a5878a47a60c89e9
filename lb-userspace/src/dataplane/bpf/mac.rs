//! MAC addresses as they lie in the maps.

use crate::model::Mac;

/// As the maps have it.
pub(super) fn words([a, b, c, d, e, f]: Mac) -> [u16; 3] {
    [[a, b], [c, d], [e, f]].map(u16::from_ne_bytes)
}

/// [`words`], back again.
pub(super) fn bytes(words: [u16; 3]) -> Mac {
    let [[a, b], [c, d], [e, f]] = words.map(u16::to_ne_bytes);
    [a, b, c, d, e, f]
}
