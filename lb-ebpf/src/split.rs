//! A datagram that is too long for its tunnel, and does not say "don't fragment", goes in
//! two (IPv4; RFC 791, section 2.3): where the hook can send more than the frame that came.

use lb_common::{
    abi::{backend::Backend, counter::Verdict},
    mode::Mode,
    tunnel::{Inner, Outer},
    wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::{Hook, TAIL},
    ip::Ip,
};

use crate::{maps, packet::Packet, rewrite};

/// Whether the packet can be sent to its backend, if need be in two.
#[inline(always)]
pub(crate) fn goes<H: Hook, A: Ip>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    backend: &Backend,
    mode: Mode,
) -> Result<bool, Verdict> {
    if rewrite::fits(cursor, packet, backend, mode) {
        return Ok(true);
    }
    if !H::SENDS_MORE || A::V6 || !mode.tunnels() {
        return Ok(false);
    }
    let headers = packet.headers_len();
    let ip: &wire::Ipv4 = cursor.read(packet.l3 as usize)?;
    let tagged = packet.l3 as usize != wire::ETHERNET_LEN || cursor.has_tag_beside();
    // Options are copied to some fragments and not to others; nobody sends any.
    let is_plain = (packet.l4 - packet.l3) as usize == wire::IPV4_LEN;
    let is_whole = cursor.segment_len(packet.len, headers) == packet.len;
    let first = first(backend);
    let rest = rest(packet, first);
    Ok(!tagged
        && is_plain
        && is_whole
        && ip.fragment() & wire::IPV4_DF == 0
        && rest <= first
        && rest <= TAIL)
}

/// How much of the payload goes in the first of two: all but the last fragment have whole
/// units of eight bytes.
#[inline(always)]
fn first(backend: &Backend) -> u32 {
    let room = rewrite::room(backend, Mode::Ipip);
    room.saturating_sub(wire::IPV4_LEN as u32) & !7
}

/// How much in the second.
#[inline(always)]
fn rest<A: Ip>(packet: &Packet<A>, first: u32) -> u32 {
    packet.len.saturating_sub(wire::IPV4_LEN as u32 + first)
}

/// Sends a packet that [goes], but does not fit: the action for the second fragment.
#[inline(always)]
pub(crate) fn send<H: Hook, A: Ip>(
    mut cursor: Cursor<H>,
    packet: &Packet<A>,
    varied: u32,
    backend: &Backend,
) -> Result<u32, Verdict> {
    const L3: usize = wire::ETHERNET_LEN;
    let tail = maps::ROOM_TAIL
        .get_ptr_mut(0)
        .ok_or(Verdict::DropInternal)?;
    // SAFETY: this CPU's own value; a packet's way is not interrupted by another packet's,
    // and nobody else asks for it.
    let tail = unsafe { &mut *tail };
    let first = first(backend);
    let rest = rest(packet, first);
    let end = L3 + wire::IPV4_LEN + first as usize;
    cursor.copy(end, rest, tail)?;
    rewrite::set_macs(&mut cursor, backend)?;
    let ip: &mut wire::Ipv4 = cursor.header(L3)?;
    let place = u16::from_be(ip.fragment());
    let outer = Outer::to(backend);
    let mut inner = Inner {
        v6: false,
        len: (wire::IPV4_LEN as u32 + first) as u16,
        class: backend.outer_class(ip.tos()),
        varied,
    };
    ip.spend_hop();
    ip.set_piece(inner.len, place | u16::from_be(wire::IPV4_MF));
    let cursor = cursor.cut(end)?;
    let len = outer.header_len();
    let mut cursor = cursor.cover(len, wire::ETHERTYPE_IPV4, outer.ethertype())?;
    cursor
        .header::<wire::Ethernet>(0)?
        .set_kind(outer.ethertype());
    begin(&mut cursor, inner, outer, backend)?;
    let cursor = cursor.send_copy(backend.ifindex)?;

    let l3 = L3 + len;
    let mut cursor = cursor.end_with(l3 + wire::IPV4_LEN, rest, tail)?;
    inner.len = (wire::IPV4_LEN as u32 + rest) as u16;
    begin(&mut cursor, inner, outer, backend)?;
    let units = (first / 8) as u16;
    cursor
        .header::<wire::Ipv4>(l3)?
        .set_piece(inner.len, place + units);
    Ok(cursor.send(backend.ifindex))
}

#[inline(always)]
fn begin<H: Hook>(
    cursor: &mut Cursor<H>,
    inner: Inner,
    outer: Outer,
    backend: &Backend,
) -> Result<(), Verdict> {
    match outer {
        Outer::V4 => inner.begin_v4(cursor.header(wire::ETHERNET_LEN)?, backend),
        Outer::V6 => inner.begin_v6(cursor.header(wire::ETHERNET_LEN)?, backend),
    }
    Ok(())
}
