//! ICMP and ICMPv6 errors: those of our own are made of the packet that they are about.

use lb_common::{
    abi::counter::Verdict,
    checksum,
    tunnel::Outer,
    wire::{self, Checksummed},
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Ip, IpHeader as _},
};

use crate::{maps, packet::Packet};

/// What an error says: its type, its code, and the word that depends on them, as on the
/// wire.
#[derive(Clone, Copy)]
pub(crate) struct Says {
    kind: u8,
    code: u8,
    rest: u32,
}

/// The packet is longer than the next hop takes.
#[inline(always)]
pub(crate) fn too_big<A: Ip>(longest: u32) -> Says {
    let (kind, code) = if A::V6 {
        (wire::ICMPV6_TOO_BIG, 0)
    } else {
        (wire::ICMP_UNREACHABLE, wire::ICMP_CODE_FRAGMENTATION_NEEDED)
    };
    // IPv4 has the MTU in the lower half of the word (RFC 1191).
    let rest = longest.to_be();
    Says { kind, code, rest }
}

/// Nobody takes the datagram.
#[inline(always)]
pub(crate) fn unreachable<A: Ip>() -> Says {
    let (kind, code) = if A::V6 {
        (wire::ICMPV6_UNREACHABLE, wire::ICMPV6_CODE_PORT)
    } else {
        (wire::ICMP_UNREACHABLE, wire::ICMP_CODE_PORT)
    };
    Says {
        kind,
        code,
        rest: 0,
    }
}

/// The packet has used up its hops.
#[inline(always)]
pub(crate) fn time_exceeded<A: Ip>() -> Says {
    let (kind, code) = if A::V6 {
        (wire::ICMPV6_TIME_EXCEEDED, wire::ICMPV6_CODE_IN_TRANSIT)
    } else {
        (wire::ICMP_TIME_EXCEEDED, wire::ICMP_CODE_IN_TRANSIT)
    };
    Says {
        kind,
        code,
        rest: 0,
    }
}

/// Whether an ICMP message of this type is an error.
#[inline(always)]
pub(crate) fn is_one<A: Ip>(kind: u8) -> bool {
    if A::V6 {
        matches!(
            kind,
            wire::ICMPV6_UNREACHABLE
                | wire::ICMPV6_TOO_BIG
                | wire::ICMPV6_TIME_EXCEEDED
                | wire::ICMPV6_PARAMETER_PROBLEM
        )
    } else {
        matches!(
            kind,
            wire::ICMP_UNREACHABLE | wire::ICMP_TIME_EXCEEDED | wire::ICMP_PARAMETER_PROBLEM
        )
    }
}

/// The error tells the MTU of a link.
#[inline(always)]
pub(crate) fn is_too_big<A: Ip>(kind: u8, code: u8) -> bool {
    if A::V6 {
        kind == wire::ICMPV6_TOO_BIG
    } else {
        kind == wire::ICMP_UNREACHABLE && code == wire::ICMP_CODE_FRAGMENTATION_NEEDED
    }
}

/// The MTU that an error tells, if it is not below all reason.
#[inline(always)]
pub(crate) fn believed_mtu<A: Ip>(told: u32) -> Result<u32, Verdict> {
    let (mtu, least) = if A::V6 {
        // No link has less (RFC 8200, section 5).
        (told, wire::IPV6_LEAST_MTU)
    } else {
        let settings = maps::SETTINGS.get(0).ok_or(Verdict::DropInternal)?;
        (told & 0xFFFF, settings.least_mtu_v4 as u32)
    };
    if mtu < least {
        return Err(Verdict::DropIcmp);
    }
    Ok(mtu.min(u16::MAX as u32))
}

/// The most words that an error of ours embeds.
const MOST_WORDS: u32 = 48;

/// Turns the packet into the error about it, from the address that it is to.
#[inline(always)]
pub(crate) fn build<H: Hook, A: Ip>(
    mut cursor: Cursor<H>,
    packet: &Packet<A>,
    says: Says,
) -> Result<(), Verdict> {
    let l3 = packet.l3 as usize;
    let grow = A::HEADER_LEN + wire::ICMP_LEN;
    let headers = packet.l4 as usize - l3;
    let unfinished = if packet.is_tcp() {
        leave_unfinished::<_, wire::Tcp>(&mut cursor, packet.l4 as usize)?
    } else {
        leave_unfinished::<_, wire::Udp>(&mut cursor, packet.l4 as usize)?
    };
    // The headers and eight bytes of what follows; or the field that a device writes to.
    let embedded = if unfinished && packet.is_tcp() {
        headers + wire::TCP_LEN
    } else {
        headers + wire::ICMP_EMBEDDED_LEN
    };
    let cursor = cursor.cut(l3 + embedded)?;
    let mut cursor = cursor.make_room(l3, grow)?;
    cursor.header::<wire::Ethernet>(0)?.turn();
    let summed = if unfinished { headers } else { embedded };
    write(&mut cursor, packet, l3, says, (embedded, summed))
}

/// Turns an error about a packet of a tunnel into one about the packet inside, from the
/// address that this is to. `to`: where its sender is, and our own MAC address there.
#[inline(always)]
pub(crate) fn uncover<H: Hook, A: Ip>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    outer: Outer,
    (to, ours): (wire::Mac, wire::Mac),
    says: Says,
) -> Result<Cursor<H>, Verdict> {
    let inside = packet.l3 as usize;
    let embedded = packet.l4 as usize - inside + wire::ICMP_EMBEDDED_LEN;
    let cursor = cursor.cut(inside + embedded)?;
    let (l3, kind) = (wire::ETHERNET_LEN, kind_of::<A>());
    let front = l3 + A::HEADER_LEN + wire::ICMP_LEN;
    let mut cursor = cursor.uncover(inside - front, outer.ethertype(), kind)?;
    let ethernet = cursor.header::<wire::Ethernet>(0)?;
    ethernet.set_macs(to, ours);
    ethernet.set_kind(kind);
    write(&mut cursor, packet, l3, says, (embedded, embedded))?;
    Ok(cursor)
}

/// The EtherType of a family, as on the wire.
#[inline(always)]
fn kind_of<A: Ip>() -> u16 {
    if A::V6 {
        wire::ETHERTYPE_IPV6
    } else {
        wire::ETHERTYPE_IPV4
    }
}

/// Writes the headers of an error at `l3`, before the part of the packet that it embeds,
/// and of which `summed` bytes count for its checksum.
#[inline(always)]
fn write<H: Hook, A: Ip>(
    cursor: &mut Cursor<H>,
    packet: &Packet<A>,
    l3: usize,
    Says { kind, code, rest }: Says,
    (embedded, summed): (usize, usize),
) -> Result<(), Verdict> {
    let icmp = if A::V6 { wire::ICMPV6 } else { wire::ICMP };
    let len = (wire::ICMP_LEN + embedded) as u16;
    let (from, to) = (packet.key.destination, packet.key.source);
    cursor.header::<A::Header>(l3)?.write(icmp, len, from, to);
    let l4 = l3 + A::HEADER_LEN;
    let header = cursor.header::<wire::Icmp>(l4)?;
    header.set_kind(kind);
    header.set_code(code);
    header.set_rest(rest);
    let mut pseudo = 0;
    if A::V6 {
        pseudo = from.sum() + to.sum() + (len.to_be() as u64) + (icmp as u16).to_be() as u64;
    }
    let mut own = u16::from_ne_bytes([kind, code]) as u64 + rest as u64;
    for word in 0..MOST_WORDS {
        let offset = word as usize * 4;
        if offset >= summed {
            break;
        }
        own += cursor
            .read::<wire::Word>(l4 + wire::ICMP_LEN + offset)?
            .value() as u64;
    }
    // Nothing of this is a device's to finish.
    cursor
        .header::<wire::Icmp>(l4)?
        .set_checksum(!checksum::fold(pseudo + own));
    Ok(())
}

/// Whether a device will finish the packet's checksum of layer 4, which then is made
/// zero: what the device writes there makes the sum over all that follows the IP header
/// zero, so that it adds nothing to the sum of the error that it is embedded in.
#[inline(always)]
fn leave_unfinished<H: Hook, T: Checksummed>(
    cursor: &mut Cursor<H>,
    l4: usize,
) -> Result<bool, Verdict> {
    let unfinished = cursor.is_unfinished::<T>(l4)?;
    if unfinished {
        cursor.header::<T>(l4)?.set_checksum(0);
    }
    Ok(unfinished)
}
