//! The first step: a packet of any shape.

use lb_common::{abi::counter::Verdict, wire};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{self, IpHeader as _},
};

use super::step::{Next, Step};
use crate::{
    classify::{self, Ours},
    family::Family,
    interface,
    parse::{self, Found},
    scratch::Room,
};

/// Reads the packet into the room, if its frame is to us.
#[inline(always)]
pub(crate) fn read<H: Hook, A: Family>(cursor: &Cursor<H>, room: &mut Room<A>) -> Step {
    let Room {
        datagram,
        packet,
        fragment,
        ..
    } = room;
    if !interface::is_addressed(cursor)? {
        return Err(Verdict::NotOurs);
    }
    let found = match parse::datagram(cursor, datagram, packet, fragment) {
        Err(Verdict::Malformed) => return Err(unreadable::<H, A>(cursor)),
        found => found?,
    };
    // An answer would go to all of the group.
    if cursor.read::<wire::Ethernet>(0)?.is_from_a_group()
        && classify::address(datagram.destination) != Ours::No
    {
        return Err(Verdict::DropMartian);
    }
    match found {
        Found::Transport => Ok(Next::Connection),
        // What the host tells itself is for itself.
        Found::Icmp if interface::is_loopback(cursor) => Err(Verdict::NotOurs),
        Found::Icmp => Ok(Next::Icmp),
        Found::Other => Err(match classify::address(datagram.destination) {
            Ours::Vip => Verdict::NoListener,
            _ => Verdict::NotOurs,
        }),
    }
}

/// What becomes of a packet that cannot be read to the end of its headers. One to a VIP is
/// for nobody on this host: what listens there on the same port must not get what ebb
/// cannot tell from its own.
#[inline(always)]
fn unreadable<H: Hook, A: Family>(cursor: &Cursor<H>) -> Verdict {
    let Ok((l3, _)) = ip::link(cursor) else {
        return Verdict::Malformed;
    };
    match cursor.read::<A::Header>(l3 as usize) {
        Ok(header) if classify::address(header.to()) == Ours::Vip => Verdict::DropUnreadable,
        _ => Verdict::Malformed,
    }
}
