//! The life of a TCP flow, step by step, from the flags that pass by.
//!
//! A flow is *active* until it is [`CLOSED`]: by a RST from either side, or by
//! a FIN from both. Where only the client's side is seen (dsr, ipip) a FIN from
//! the client makes it *closing*; it is closed by the client's acknowledgement
//! of the backend's FIN, or by a moment of silence.
//!
//! A closed flow's entry lingers, so that the last acknowledgements still find
//! their way; it is no longer counted.

/// Flags of a TCP header (RFC 9293, section 3.1), as the byte at offset 13.
pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const ACK: u8 = 0x10;

/// `Flow::state`: the client has sent a FIN.
pub const CLIENT_FIN: u32 = 1 << 0;
/// `Flow::state`: the backend has sent a FIN.
pub const BACKEND_FIN: u32 = 1 << 1;
/// `Flow::state`: somebody has sent a RST.
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

/// The bits that a packet's flags add to a flow's state. `sees_both` tells
/// whether the backend's packets pass by as well (nat).
#[inline(always)]
#[must_use]
pub const fn step(state: u32, flags: u8, from: From, sees_both: bool) -> u32 {
    if flags & RST != 0 {
        return WAS_RESET | CLOSED;
    }
    let mut add = 0;
    if flags & FIN != 0 {
        add = match from {
            From::Client => CLIENT_FIN,
            From::Backend => BACKEND_FIN,
        };
    }
    if sees_both && both_closed(state | add) {
        add |= CLOSED;
    }
    add
}

/// Both ends have sent their FINs.
#[inline(always)]
#[must_use]
pub const fn both_closed(state: u32) -> bool {
    let both = CLIENT_FIN | BACKEND_FIN;
    state & both == both
}

/// Where only the client is seen and has sent its FIN: true if this packet
/// acknowledges exactly one number more, which is the backend's FIN.
#[inline(always)]
#[must_use]
pub const fn acknowledges_fin(state: u32, flags: u8, ack_before: u32, ack: u32) -> bool {
    state & CLIENT_FIN != 0
        && flags & (FIN | SYN | RST | ACK) == ACK
        && ack.wrapping_sub(ack_before) == 1
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

/// Whether sequence number `a` is after `b` (RFC 9293, section 3.4).
#[inline(always)]
#[must_use]
pub const fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// Whether `seq` can be of a stream whose next number is `next`: within the
/// largest window without scaling, twice.
#[inline(always)]
#[must_use]
pub const fn is_near(seq: u32, next: u32) -> bool {
    seq.wrapping_sub(next).wrapping_add(0x1_FFFF) <= 0x3_FFFE
}

/// How long the entry of a closed flow lingers. Long enough for the last
/// acknowledgement and its retransmissions; a new SYN ends it at once.
pub const LINGER_MS: u64 = 10_000;
/// How long a closing flow must be quiet to count as closed where the backend's
/// side is not seen.
pub const QUIET_MS: u64 = 300;
/// How long a half-closed flow must be silent to count as closed where only one
/// side is seen and nobody waits for its end.
pub const SETTLES_MS: u64 = 10_000;
/// How long the entry of a flow lingers that only its silence has closed: the
/// backend may have been at work, and its client's acknowledgements still come.
pub const HALF_CLOSED_MS: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fin_from_both_sides_closes() {
        let mut state = 0;
        state |= step(state, FIN | ACK, From::Client, true);
        assert_eq!(state, CLIENT_FIN);
        state |= step(state, ACK, From::Backend, true);
        assert_eq!(state & CLOSED, 0, "half closed is not closed");
        state |= step(state, FIN | ACK, From::Backend, true);
        assert_ne!(state & CLOSED, 0);
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

    #[test]
    fn one_side_alone_never_closes_by_fins() {
        let mut state = 0;
        for _ in 0..3 {
            state |= step(state, FIN | ACK, From::Client, false);
        }
        assert_eq!(state & CLOSED, 0);
    }

    #[test]
    fn the_ack_of_the_backends_fin_is_told_from_the_ack_of_data() {
        assert!(acknowledges_fin(CLIENT_FIN, ACK, u32::MAX, 0));
        assert!(!acknowledges_fin(CLIENT_FIN, ACK, 10, 10));
        assert!(!acknowledges_fin(CLIENT_FIN, ACK, 10, 1470));
        assert!(!acknowledges_fin(0, ACK, 10, 11));
    }

    proptest! {
        #[test]
        fn a_reset_always_closes_and_nothing_reopens(
            steps in prop::collection::vec((any::<u8>(), any::<bool>(), any::<bool>()), 0..40)
        ) {
            let mut state = 0;
            for (flags, client, both) in steps {
                let from = if client { From::Client } else { From::Backend };
                let before = state;
                state |= step(state, flags, from, both);
                prop_assert_eq!(state & before, before);
                if flags & RST != 0 { prop_assert_ne!(state & CLOSED, 0); }
            }
        }
    }
}
