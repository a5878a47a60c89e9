//! The first step: a packet of any shape.

use lb_common::abi::counter::Verdict;
use lb_ebpf::{cursor::Cursor, hook::Hook};

use super::step::{Next, Step};
use crate::{
    classify,
    family::Family,
    parse::{self, Found},
    scratch::Room,
};

/// Reads the packet into the room.
#[inline(always)]
pub(crate) fn read<H: Hook, A: Family>(cursor: &Cursor<H>, room: &mut Room<A>) -> Step {
    let Room {
        datagram,
        packet,
        fragment,
        ..
    } = room;
    match parse::datagram(cursor, datagram, packet, fragment)? {
        Found::Transport => Ok(Next::Connection),
        Found::Icmp => Ok(Next::Icmp),
        Found::Other => Err(match classify::address(datagram.destination) {
            classify::Ours::Vip => Verdict::NoListener,
            _ => Verdict::NotOurs,
        }),
    }
}
