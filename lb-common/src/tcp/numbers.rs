//! Which sequence numbers are believed.
//!
//! A connection tracker asks whether a segment lies in the windows that both ends
//! have advertised, and for that looks at both directions. Here each direction is
//! held against itself: every segment says where its sender is in *two* streams,
//! its own (the sequence number) and the other's (the acknowledgement), and neither
//! can jump. A segment may be far from what is known in one of the two, by as much
//! as the largest window: after a loss, or when acknowledgements are thinned out.
//! The farther it is in the one, the nearer it has to be in the other:
//!
//! ```text
//!   acknowledgement
//!         │ █ │             |seq − known| · |ack − known| ≤ 2³⁶,
//!         │▄█▄│             neither over 2³⁰, the largest window there is
//!   ▄▄▄▄▄▟███▙▄▄▄▄▄  seq    (RFC 7323, section 2.3)
//!         │▀█▀│
//!         │ █ │
//! ```
//!
//! Honest ends are close to an axis always: who sends in order is on it, however
//! fast. Who guesses has to hit an area of less than 2^42.7 out of 2^64, in any
//! flow, whatever its windows: 2^20 packets and more on average, in whatever order
//! they are tried. It takes no look at the other direction's entry, which would
//! cost the hit path a second search, and needs neither the option for the window's
//! scale (unknown where a flow was adopted) nor room to keep it.
//!
//! An honest segment that is far off in both is not believed, and nothing is lost by
//! that: what ebb did not see pass, its receiver has not got, so it comes again.

use super::{ACK, FIN, RST, SYN};

/// The largest window (RFC 7323, section 2.3).
const WINDOW: u64 = 1 << 30;
/// How far off both numbers may be together: their distances, multiplied.
const AREA: u64 = 1 << 36;
/// What an acknowledgement's distance counts as while none is known: leaves 64 KiB
/// for the sequence number.
const UNKNOWN: u64 = 1 << 20;

/// What is known of one direction of a flow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The number that follows the last one sent.
    pub seq: u32,
    /// The last acknowledgement. Zero: none is known.
    pub ack: u32,
}

/// What a TCP header says, and where the segment ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Segment {
    pub flags: u8,
    pub seq: u32,
    /// The number that follows its last.
    pub next_seq: u32,
    pub ack: u32,
}

impl Segment {
    #[inline(always)]
    #[must_use]
    pub const fn new(flags: u8, seq: u32, payload: u32, ack: u32) -> Self {
        Self {
            flags,
            seq,
            next_seq: seq.wrapping_add(payload).wrapping_add(marks(flags)),
            ack,
        }
    }

    /// The length of its payload.
    #[inline(always)]
    #[must_use]
    pub const fn payload_len(&self) -> u32 {
        let sent = self.next_seq.wrapping_sub(self.seq);
        sent.wrapping_sub(marks(self.flags))
    }

    #[inline(always)]
    #[must_use]
    pub const fn has(&self, flags: u8) -> bool {
        self.flags & flags != 0
    }
}

/// SYN and FIN take a sequence number each (RFC 9293, section 3.4).
#[inline(always)]
const fn marks(flags: u8) -> u32 {
    (flags & SYN != 0) as u32 + (flags & FIN != 0) as u32
}

impl Numbers {
    /// Whether a segment of this direction goes on where it has been: anything but
    /// a SYN or a RST, which have rules of their own.
    ///
    /// A segment without acknowledgement has no place in a connection (RFC 9293,
    /// section 3.10.7.4).
    #[inline(always)]
    #[must_use]
    pub const fn fits(self, segment: Segment) -> bool {
        let off = distance(segment.seq, self.seq);
        let jump = if self.ack == 0 {
            UNKNOWN
        } else {
            distance(segment.ack, self.ack)
        };
        segment.flags & (SYN | RST | ACK) == ACK
            && off <= WINDOW
            && jump <= WINDOW
            && off * jump <= AREA
    }

    /// What is known after a segment that fits. Retransmissions, probes and what
    /// was overtaken lie behind, and change nothing.
    #[inline(always)]
    #[must_use]
    pub const fn with(self, segment: Segment) -> Self {
        let Self { seq, ack } = self;
        Self {
            seq: if after(segment.next_seq, seq) {
                segment.next_seq
            } else {
                seq
            },
            ack: if ack == 0 || after(segment.ack, ack) {
                segment.ack
            } else {
                ack
            },
        }
    }
}

/// Whether sequence number `a` is after `b` (RFC 9293, section 3.4).
#[inline(always)]
#[must_use]
pub const fn after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

/// The most that is taken to be on its way: what Linux and its like let one socket
/// send without an acknowledgement unless told otherwise (`tcp_wmem`).
pub const MOST_IN_FLIGHT: u64 = 4 << 20;

/// Whether `number` may be the next that the receiver expects of a stream, of which
/// `end` is the end and `bytes` bytes have passed: nobody waits for more than was
/// sent.
#[inline(always)]
#[must_use]
pub const fn is_sent(number: u32, end: u32, bytes: u64) -> bool {
    let most = if bytes < MOST_IN_FLIGHT {
        bytes
    } else {
        MOST_IN_FLIGHT
    };
    end.wrapping_sub(number) as u64 <= most
}

/// How far beyond what was acknowledged an ICMP error's segment may be.
const ERROR_WINDOW: u32 = 1 << 12;

/// Whether an ICMP error may be about the segment that begins with `seq`, if the receiver
/// has acknowledged `acknowledged`. An error means that the segment was lost, and what is
/// lost is soon the first that is not acknowledged: so the window is small, smaller than
/// an endpoint's own (RFC 5927, section 4.1), and who guesses needs 2^20 packets.
#[inline(always)]
#[must_use]
pub const fn is_lost(seq: u32, acknowledged: u32) -> bool {
    seq.wrapping_sub(acknowledged) < ERROR_WINDOW
}

/// How far `a` is from `b`, on the shorter way.
#[inline(always)]
const fn distance(a: u32, b: u32) -> u64 {
    (a.wrapping_sub(b) as i32).unsigned_abs() as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KNOWN: Numbers = Numbers {
        seq: u32::MAX - 100,
        ack: 500,
    };

    fn moved(seq: i64, ack: i64) -> Segment {
        let seq = KNOWN.seq.wrapping_add(seq as u32);
        Segment {
            flags: ACK,
            seq,
            next_seq: seq,
            ack: KNOWN.ack.wrapping_add(ack as u32),
        }
    }

    #[test]
    fn what_an_honest_end_sends_fits() {
        for (seq, ack, what) in [
            (0, 0, "an acknowledgement again"),
            (-1, 0, "a keep-alive probe"),
            (
                0,
                1 << 30,
                "an acknowledgement of a whole window of the largest kind",
            ),
            (-(1 << 30), 0, "the first retransmission of such a window"),
            (1 << 30, 0, "what follows its loss"),
            (-(256 << 10), 256 << 10, "a loss while a lot comes in"),
            (-3000, -(16 << 20), "what was overtaken"),
        ] {
            assert!(KNOWN.fits(moved(seq, ack)), "{what}");
        }
    }

    #[test]
    fn what_is_far_off_in_both_numbers_does_not_fit() {
        for (seq, ack) in [
            (1 << 20, 1 << 20),
            (-(1 << 28), 1 << 9),
            (1 << 7, -(1 << 30)),
        ] {
            assert!(!KNOWN.fits(moved(seq, ack)), "{seq} {ack}");
        }
        assert!(!KNOWN.fits(moved((1 << 30) + 1, 0)));
        assert!(!KNOWN.fits(moved(0, (1 << 30) + 1)));
    }

    #[test]
    fn a_syn_a_reset_and_what_acknowledges_nothing_never_fit() {
        for flags in [0, SYN, SYN | ACK, RST, RST | ACK, FIN] {
            assert!(
                !KNOWN.fits(Segment {
                    flags,
                    ..moved(0, 0)
                }),
                "{flags}"
            );
        }
    }

    #[test]
    fn until_an_acknowledgement_is_known_the_other_number_has_to_be_near() {
        let known = Numbers { seq: 1000, ack: 0 };
        let of = |seq| Segment {
            flags: ACK,
            seq,
            next_seq: seq,
            ack: 0x1234_5678,
        };
        assert!(known.fits(of(1000)) && known.fits(of(1000 + 65_536)));
        assert!(!known.fits(of(1000 + 65_537)));
    }

    /// The promise (P10): without a number, 2^20 packets on average or more.
    #[test]
    fn what_fits_is_a_small_part_of_all_there_is() {
        // Of the distances from 2^k to 2^(k+1), none leaves more room than the
        // least.
        let quadrant: u128 = (0..30)
            .map(|k| (1_u128 << k) * u128::from(WINDOW.min(AREA >> k)))
            .sum();
        // The corner that the last range leaves out, and the axes.
        let area = 4 * (quadrant + u128::from(AREA)) + 4 * u128::from(WINDOW) + 1;
        // Whatever is tried, and in whatever order: of n packets at least one hits
        // with a probability of n·area/2^64 at most, so the average is half of
        // 2^64/area at least.
        assert!((1_u128 << 64) / area / 2 >= 1 << 20, "{area}");
    }

    #[test]
    fn an_error_is_about_what_is_not_yet_acknowledged() {
        for acknowledged in [0, 1000, u32::MAX - 100] {
            let off = |by: u32| is_lost(acknowledged.wrapping_add(by), acknowledged);
            assert!(off(0) && off(4095) && !off(4096) && !off(u32::MAX));
        }
        assert!((1_u64 << 32) / u64::from(ERROR_WINDOW) >= 1 << 20);
    }

    #[test]
    fn nobody_waits_for_more_than_was_sent() {
        assert!(is_sent(1000, 1000, 0) && is_sent(u32::MAX, 499, 500));
        assert!(!is_sent(1001, 1000, 500) && !is_sent(499, 1000, 500));
        assert!(is_sent(0, 4 << 20, u64::MAX) && !is_sent(0, (4 << 20) + 1, u64::MAX));
    }

    proptest! {
        #[test]
        fn what_is_known_never_goes_back(seq: u32, ack: u32, to_seq: u32, to_ack: u32) {
            let known = Numbers { seq, ack };
            let next = known.with(Segment { flags: ACK, seq: to_seq, next_seq: to_seq, ack: to_ack });
            prop_assert!(!after(known.seq, next.seq));
            prop_assert!(known.ack == 0 || !after(known.ack, next.ack));
        }
    }
}
