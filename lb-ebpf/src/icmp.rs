//! ICMP and ICMPv6: errors that follow their flow, echo to a VIP, and the
//! errors that we send ourselves.

use lb_common::abi::{backend::Backend, counter::Verdict};

use crate::{
    classify,
    cursor::Cursor,
    family::Family,
    parse::{Datagram, Packet},
};

/// An ICMP message.
#[inline(always)]
pub(crate) fn way<A: Family>(_cursor: Cursor, datagram: &Datagram<A>) -> Result<u32, Verdict> {
    Err(match classify::address(datagram.destination) {
        classify::Ours::No => Verdict::NotOurs,
        _ => Verdict::IcmpNoFlow,
    })
}

/// Tells the client that its packet is too big for the way to the backend.
#[inline(always)]
pub(crate) fn too_big<A: Family>(
    _cursor: Cursor,
    _packet: &Packet<A>,
    _backend: &Backend,
) -> Verdict {
    Verdict::DropTooBig
}

/// Tells the client that nobody takes its datagram.
#[inline(always)]
pub(crate) fn unreachable<A: Family>(
    _cursor: Cursor,
    _packet: &Packet<A>,
    verdict: Verdict,
) -> Verdict {
    let _ = verdict;
    Verdict::DropNoFlow
}
