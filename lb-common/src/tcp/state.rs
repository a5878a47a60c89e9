//! The life of a TCP flow, from the segments that pass by.
//!
//! A flow is *active* until it is [`CLOSED`]: by a RST from either side, or by
//! a FIN from both. Where only the client's side is seen (dsr, ipip) a FIN from
//! the client makes it *closing*; it is closed by the client's acknowledgement
//! of the backend's FIN, or by a moment of silence.
//!
//! A closed flow's entry lingers, so that the last acknowledgements still find
//! their way; it is no longer counted.

use super::{
    ACK, FIN, RST, SYN,
    numbers::{Numbers, Segment, is_sent},
};

/// `Flow::state`: the client has sent a FIN.
pub const CLIENT_FIN: u32 = 1 << 0;
/// `Flow::state`: the backend has sent a FIN.
pub const BACKEND_FIN: u32 = 1 << 1;
/// `Flow::state`: somebody has sent a RST. Without [`CLOSED`] (dsr, ipip): one that
/// the backend may or may not have taken.
pub const WAS_RESET: u32 = 1 << 2;
/// `Flow::state`: over; counted as closed. Set exactly once, by whoever sets it
/// first.
pub const CLOSED: u32 = 1 << 3;

/// Who sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    Client,
    Backend,
}

/// A flow as it is when a segment of it comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sight {
    /// `Flow::state` of the forward entry.
    pub state: u32,
    /// Who sent the segment.
    pub from: From,
    /// What is known of the segment's direction, and how many bytes have passed in
    /// it.
    pub own: Numbers,
    pub bytes: u64,
    /// Whether the receiver's packets pass by as well (not in dsr and ipip).
    pub sees_both: bool,
    /// What the receiver has acknowledged; nothing, unless `sees_both`. No `Option`: to
    /// copy one that is empty is to read four bytes that nobody has written, which the
    /// verifiers of older kernels refuse.
    pub expected: u32,
}

/// What a segment changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Says {
    /// Numbers and times follow it.
    pub fits: bool,
    /// Bits for the flow's state.
    pub add: u32,
}

/// What a segment of an established flow says. One that is not believed says
/// nothing.
#[inline(always)]
#[must_use]
pub const fn says(sight: Sight, segment: Segment) -> Says {
    if segment.has(RST) {
        return Says {
            fits: false,
            add: reset(sight, segment),
        };
    }
    if !sight.own.fits(segment) {
        return Says {
            fits: false,
            add: 0,
        };
    }
    let mut add = 0;
    if segment.has(FIN) {
        add = match sight.from {
            From::Client => CLIENT_FIN,
            From::Backend => BACKEND_FIN,
        };
    }
    let over = if sight.sees_both {
        both_closed(sight.state | add)
    } else {
        acknowledges_fin(sight, segment)
    };
    if over {
        add |= CLOSED;
    }
    Says { fits: true, add }
}

/// What a RST adds. Its receiver takes one with the very number that it expects
/// (RFC 5961, section 3.2): the one that it has acknowledged last, or the end of
/// what was sent. To any other it answers with an acknowledgement, and to that an
/// end that is really gone answers with the right RST.
///
/// Where the receiver's acknowledgements are not seen, a RST that lies among what
/// was sent may be the right one. Then silence decides, as after a FIN.
#[inline(always)]
const fn reset(sight: Sight, segment: Segment) -> u32 {
    let Sight { own, bytes, .. } = sight;
    let exact = segment.seq == own.seq || sight.sees_both && segment.seq == sight.expected;
    if exact {
        WAS_RESET | CLOSED
    } else if !sight.sees_both && is_sent(segment.seq, own.seq, bytes) {
        WAS_RESET
    } else {
        0
    }
}

/// Both ends have sent their FINs.
#[inline(always)]
#[must_use]
pub const fn both_closed(state: u32) -> bool {
    let both = CLIENT_FIN | BACKEND_FIN;
    state & both == both
}

/// Where only the client is seen and has sent its FIN: true if this segment
/// acknowledges exactly one number more, which is the backend's FIN.
#[inline(always)]
const fn acknowledges_fin(sight: Sight, segment: Segment) -> bool {
    sight.state & CLIENT_FIN != 0
        && segment.flags & (FIN | SYN | RST | ACK) == ACK
        && segment.ack.wrapping_sub(sight.own.ack) == 1
}

/// Whether the backend's FIN answers the client's, all of which it has: then it waits for
/// its acknowledgement and no longer (LAST-ACK). One that has sent its FIN before that
/// remembers the connection for a while (TIME-WAIT; RFC 9293, section 3.6). The client
/// has sent what comes before `client_end`.
#[inline(always)]
#[must_use]
pub const fn closes_last(state: u32, client_end: u32, fin: Segment) -> bool {
    state & CLIENT_FIN != 0 && fin.ack == client_end
}

/// Where one side is seen only: the client has said that it goes, and silence will
/// tell.
#[inline(always)]
#[must_use]
pub const fn is_closing(state: u32) -> bool {
    state & (CLIENT_FIN | WAS_RESET) != 0 && state & CLOSED == 0
}

/// Whether a SYN on the flow's tuple begins a new one. Where one side is seen,
/// the client's FIN has to do: if the backend closed first, its own FIN was
/// acknowledged before, and nothing more comes. A client that has said its last
/// word has no SYN to repeat.
#[inline(always)]
#[must_use]
pub const fn may_begin_anew(state: u32, sees_both: bool) -> bool {
    let ended = if sees_both {
        CLOSED
    } else {
        CLOSED | CLIENT_FIN
    };
    state & ended != 0
}

/// How long the entry of a closed flow lingers. Long enough for the last
/// acknowledgement and its retransmissions; a new SYN ends it at once.
pub const LINGER_MS: u64 = 10_000;
/// How long a closing flow must be quiet to count as closed where the backend's
/// side is not seen.
pub const QUIET_MS: u64 = 300;
/// How long a half-closed flow must be silent to count as closed where only one
/// side is seen and nobody waits for its end.
pub const SETTLE_AFTER_MS: u64 = 10_000;
/// How long the entry of a flow lingers that only its silence has closed: the
/// backend may have been at work, and its client's acknowledgements still come.
pub const SETTLED_LINGER_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Numbers = Numbers {
        seq: 1000,
        ack: 5000,
    };

    fn sight(state: u32, from: From, expected: Option<u32>) -> Sight {
        Sight {
            state,
            from,
            own: OWN,
            bytes: 10_000,
            sees_both: expected.is_some(),
            expected: expected.unwrap_or_default(),
        }
    }

    fn segment(flags: u8, seq: u32, ack: u32) -> Segment {
        Segment {
            flags,
            seq,
            next_seq: seq.wrapping_add((flags & FIN != 0) as u32),
            ack,
        }
    }

    #[test]
    fn who_sends_its_fin_before_it_has_the_others_closes_first() {
        let fin = segment(FIN | ACK, 5000, 1000);
        assert!(closes_last(CLIENT_FIN, 1000, fin));
        assert!(!closes_last(0, 1000, fin), "the client is open");
        assert!(!closes_last(CLIENT_FIN, 1001, fin), "they cross");
    }

    #[test]
    fn a_fin_from_both_sides_closes() {
        let of = |state, from| {
            says(
                sight(state, from, Some(900)),
                segment(FIN | ACK, 1000, 5000),
            )
        };
        let client = of(0, From::Client);
        assert_eq!((client.fits, client.add), (true, CLIENT_FIN));
        let backend = of(CLIENT_FIN, From::Backend);
        assert_eq!(backend.add, BACKEND_FIN | CLOSED);
    }

    #[test]
    fn one_side_alone_never_closes_by_fins() {
        let says = says(
            sight(CLIENT_FIN, From::Client, None),
            segment(FIN | ACK, 1000, 5000),
        );
        assert_eq!(says.add, CLIENT_FIN);
    }

    #[test]
    fn the_ack_of_the_backends_fin_is_told_from_the_ack_of_data() {
        let of = |state, ack| says(sight(state, From::Client, None), segment(ACK, 1000, ack)).add;
        assert_eq!(of(CLIENT_FIN, 5001), CLOSED);
        assert_eq!((of(CLIENT_FIN, 5000), of(CLIENT_FIN, 6460)), (0, 0));
        assert_eq!(of(0, 5001), 0);
    }

    #[test]
    fn a_fin_that_does_not_fit_says_nothing() {
        for expected in [None, Some(900)] {
            let far = segment(FIN | ACK, 1000 + (1 << 28), 5000 + (1 << 28));
            let says = says(sight(CLIENT_FIN, From::Backend, expected), far);
            assert_eq!(says, Says::default());
        }
    }

    #[test]
    fn a_reset_counts_where_its_receiver_takes_it() {
        let of = |seq, expected| {
            let says = says(sight(0, From::Client, expected), segment(RST, seq, 0));
            assert!(!says.fits, "its numbers are nobody's");
            says.add
        };
        let over = WAS_RESET | CLOSED;
        // What the receiver has acknowledged, and the end of what was sent.
        assert_eq!((of(400, Some(400)), of(1000, Some(400))), (over, over));
        // In the window: the receiver asks back.
        assert_eq!(
            (of(401, Some(400)), of(999, Some(400)), of(1001, Some(400))),
            (0, 0, 0)
        );
        // What the receiver has acknowledged is not known.
        assert_eq!((of(1000, None), of(400, None)), (over, WAS_RESET));
        assert_eq!(
            (of(1001, None), of(1000_u32.wrapping_sub(10_001), None)),
            (0, 0)
        );
    }

    #[test]
    fn a_tuple_begins_anew_after_the_end_and_not_before() {
        assert!(!may_begin_anew(0, true) && !may_begin_anew(0, false));
        assert!(may_begin_anew(CLOSED, true) && may_begin_anew(CLOSED, false));
        assert!(
            !may_begin_anew(CLIENT_FIN, true),
            "the backend may still send"
        );
        assert!(may_begin_anew(CLIENT_FIN, false));
    }
}
