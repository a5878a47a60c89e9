//! The flow tables: what a packet's 5-tuple says about where it goes.
//!
//! A nat flow has two entries, one under the client's tuple (client → VIP) and
//! one under the backend's (backend → nat address), each with all that is
//! needed to rewrite a packet of its direction. A dsr or ipip flow has the
//! first only. Half-open flows lie in tables of their own, with the same keys
//! and values.

use super::{
    address::{Addr4, Addr6, Address},
    plain::plain,
};
use crate::hash;

/// A source and a destination port as they lie in a TCP or UDP header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Ports(pub u32);

impl Ports {
    /// From port numbers in the host's order.
    #[inline(always)]
    #[must_use]
    pub const fn new(source: u16, destination: u16) -> Self {
        let [a, b] = source.to_be_bytes();
        let [c, d] = destination.to_be_bytes();
        Self(u32::from_ne_bytes([a, b, c, d]))
    }
    #[inline(always)]
    #[must_use]
    pub const fn source(self) -> u16 {
        let [a, b, _, _] = self.0.to_ne_bytes();
        u16::from_be_bytes([a, b])
    }
    #[inline(always)]
    #[must_use]
    pub const fn destination(self) -> u16 {
        let [_, _, c, d] = self.0.to_ne_bytes();
        u16::from_be_bytes([c, d])
    }
    #[inline(always)]
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self(self.0.rotate_left(16))
    }
}

/// A 5-tuple as a packet carries it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey<A> {
    pub source: A,
    pub destination: A,
    pub ports: Ports,
    /// The IP protocol number, widened so that nothing is padding.
    pub protocol: u32,
}

impl<A: Address> FlowKey<A> {
    /// The tuple of a packet that goes the other way.
    #[inline(always)]
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: self.ports.swapped(),
            protocol: self.protocol,
        }
    }

    /// The hash of a flow as its client sends it. The same on every node that uses
    /// the same seed; the protocol is part of the listener, and so left out.
    #[inline(always)]
    #[must_use]
    pub fn hash(&self, seed: u32) -> u32 {
        let mut hash = seed;
        let words = self.source.words();
        hash = hash::mix(hash, words[0]);
        if A::V6 {
            hash = hash::mix(hash, words[1]);
            hash = hash::mix(hash, words[2]);
            hash = hash::mix(hash, words[3]);
        }
        hash = hash::mix(hash, self.destination.mix());
        hash::finish(hash::mix(hash, self.ports.0))
    }
}

/// One entry of a flow table.
///
/// The entry under the client's tuple is the *forward* entry; `state` there is
/// the truth about the flow. The one under the backend's tuple (nat only) is the
/// *reply* entry and has [`REPLY`] in its state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Flow<A: Address> {
    /// Bits of [`crate::tcp`] and the flags below. With `epoch` it makes one
    /// aligned 64-bit word, the only kind that the kernel target can change
    /// atomically.
    pub state: u32,
    /// The backend's epoch when the flow began. Another one there: disowned.
    pub epoch: u32,
    /// Forward: the source address to write (nat). Reply: the client.
    pub peer: A,
    /// The ports to write: the new source and destination. Under ipip, what
    /// varies in the outer source address, as on the wire.
    pub ports: Ports,
    /// The listener that the client connected to; its address and port are what
    /// a reply is made to come from.
    pub listener: u16,
    pub backend: u16,
    /// The client's MAC address as its last packet had it.
    pub client_mac: [u16; 3],
    /// The way out to the client: an index into [`super::exit`].
    pub exit: u16,
    /// When a packet of this direction was last seen, in ticks.
    pub seen: u32,
    /// When the flow began, in ticks.
    pub born: u32,
    /// The sequence number that follows what this direction has sent. Of a conversation
    /// (UDP): the length of its first datagram.
    pub seq: u32,
    /// What this direction has acknowledged: the other's next number.
    pub ack: u32,
    pub pad: A::FlowPad,
    /// Bytes of this direction, from the IP header on.
    pub bytes: u64,
}

impl<A: Address> Flow<A> {
    /// Whether this direction's packets were more than those of a handshake: a SYN with
    /// options and an acknowledgement.
    #[must_use]
    pub const fn is_more_than_a_handshake(&self) -> bool {
        self.bytes > 2 * (A::HEADER_LEN as u64 + 40)
    }
}

/// `Flow::state`: this entry is under the backend's tuple.
pub const REPLY: u32 = 1 << 16;
/// `Flow::state`: the flow is translated, and so has a reply entry.
pub const NAT: u32 = 1 << 17;
/// `Flow::state`: the entry is, or was last seen, in the half-open table.
pub const HALF_OPEN: u32 = 1 << 18;
/// `Flow::state`: the backend has answered with a SYN-ACK. On the reply entry of a
/// half-open flow.
pub const ANSWERED: u32 = 1 << 20;
/// `Flow::state`: we came to know the flow in its middle (dsr, ipip).
pub const ADOPTED: u32 = 1 << 21;
/// `Flow::state`: it is closed because it was silent after the client's FIN
/// (dsr, ipip). The agent's mark.
pub const SETTLED: u32 = 1 << 22;
/// `Flow::state`, half-open only: a SYN on the tuple of an established flow, which
/// begins that flow's numbers anew if it is answered. No handshake of its own.
pub const RENEWS: u32 = 1 << 23;

/// `Flow::state`, on a reply entry: the way to the client does not take all that its
/// connection has agreed on, and routers may fragment (nat over IPv4).
pub const FRAGMENTS: u32 = 1 << 24;

/// `Flow::state`, on a forward entry: the backend closed first, or at the same time as the
/// client, and holds its end of the tuple in TIME-WAIT after that (nat). On one that is half
/// open: it holds the end of an earlier connection, and so has not answered this one.
pub const TIME_WAIT: u32 = 1 << 25;

/// `Flow::state`: packets to the backend come from the client's own address and port, and no
/// port of ebb's is bound (nat).
pub const KEEPS_SOURCE: u32 = 1 << 26;

plain!(
    Ports,
    FlowKey<Addr4>,
    FlowKey<Addr6>,
    Flow<Addr4>,
    Flow<Addr6>
);

const _: () = assert!(size_of::<FlowKey<Addr4>>() == 16);
const _: () = assert!(size_of::<FlowKey<Addr6>>() == 40);
const _: () = assert!(size_of::<Flow<Addr4>>() == 64);
const _: () = assert!(size_of::<Flow<Addr6>>() == 64);

/// One tick in nanoseconds is 2 to this power: a tick is 1.048576 ms. Ticks are
/// counted on CLOCK_MONOTONIC in 32 bits, which wrap after 52 days; they are
/// only ever compared by wrapping difference.
pub const TICK_SHIFT: u32 = 20;

/// The ticks in so many milliseconds (rounded down).
#[inline(always)]
#[must_use]
pub const fn ticks(milliseconds: u64) -> u32 {
    ((milliseconds * 1_000_000) >> TICK_SHIFT) as u32
}

/// How long a half-open entry binds its ports: after that a new flow may take
/// them.
pub const HALF_OPEN_TICKS: u32 = ticks(60_000);

/// Where ebb sees one side only (dsr, ipip), a UDP conversation or an adopted
/// TCP flow counts as established once it has gone on for this long: a flood of
/// single packets never gets there (P6).
pub const PROVEN_AFTER: u32 = ticks(1_000);

#[cfg(test)]
mod tests {
    use super::*;

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
            counts[hash::below(key.hash(7), BUCKETS as u32) as usize] += 1;
        }
        // 1,000 expected; five standard deviations are 158.
        for count in counts {
            assert!((842..=1158).contains(&count), "{counts:?}");
        }
    }
}
