//! A SYN on a flow that is open.
//!
//! Its client may have come back after a crash, to a backend that knows nothing of the
//! old connection either. That is so when the SYN is answered: then, and not before,
//! the flow's numbers begin anew. Until then the SYN is remembered among the half-open
//! flows.

use lb_common::{
    abi::flow::{FlowKey, HALF_OPEN, RENEWS, TIME_WAIT},
    tcp::{self, Numbers},
};

use crate::{
    flow::Entry,
    half_open::{self, HalfOpen},
    packet::Packet,
    scratch::Scratch,
};

/// A packet with a SYN: the client's, which is remembered, or the backend's answer.
/// `other` is the entry of the other direction (nat), and its key is in `scratch`.
#[inline(always)]
pub(crate) fn offer<A: HalfOpen>(
    packet: &Packet<A>,
    entry: Entry<A>,
    other: Option<Entry<A>>,
    scratch: &mut Scratch<A>,
    now: u32,
) {
    if entry.is_reply() {
        if let Some(forward) = other {
            answer(packet, entry, forward, scratch, now);
        }
    } else if packet.opens() {
        entry.copy_to(&mut scratch.value);
        scratch.value.state |= HALF_OPEN | RENEWS;
        scratch.value.seq = packet.segment.next_seq;
        scratch.value.seen = now;
        scratch.value.born = now;
        // If there is no room, the old numbers stay.
        let _ = half_open::put(&packet.key, &scratch.value, now);
    }
}

/// The backend has answered the very SYN that is remembered.
#[inline(always)]
fn answer<A: HalfOpen>(
    packet: &Packet<A>,
    reply: Entry<A>,
    forward: Entry<A>,
    scratch: &Scratch<A>,
    now: u32,
) {
    let tcp::Segment { next_seq, ack, .. } = packet.segment;
    if packet.has(tcp::ACK) && remembered(&scratch.other, ack, now).is_some() {
        reply.set_numbers(Numbers { seq: next_seq, ack });
        forward.set_numbers(Numbers {
            seq: ack,
            ack: next_seq,
        });
        forward.drop_state(tcp::CLIENT_FIN | tcp::BACKEND_FIN | TIME_WAIT);
        half_open::remove(&scratch.other, now);
    }
}

/// Where the backend's answer is not seen: true if the packet is the client's next
/// after a SYN that is remembered, on a flow that was silent since.
#[inline(always)]
pub(crate) fn is_followed_by<A: HalfOpen>(packet: &Packet<A>, entry: Entry<A>, now: u32) -> bool {
    let tcp::Segment { seq, ack, .. } = packet.segment;
    let silent = |syn: Entry<A>| syn.get(|f| f.bytes) == entry.get(|f| f.bytes);
    if packet.has(tcp::RST)
        || !packet.has(tcp::ACK)
        || !remembered(&packet.key, seq, now).is_some_and(silent)
    {
        return false;
    }
    entry.set_numbers(Numbers { seq, ack });
    half_open::remove(&packet.key, now);
    true
}

/// The SYN on this tuple that `number` follows.
#[inline(always)]
fn remembered<A: HalfOpen>(key: &FlowKey<A>, number: u32, now: u32) -> Option<Entry<A>> {
    half_open::entry(key, now)
        .filter(|syn| syn.state() & RENEWS != 0 && syn.numbers().seq == number)
}
