//! An ICMP error about a packet that ebb has put into a tunnel (ipip).
//!
//! The outer header is ebb's own, so the error comes to ebb. What it says of length goes
//! on to the client, about the datagram inside, as from a router at the tunnel's entrance
//! (RFC 2003, section 4; RFC 2473, section 8). Anything else is about the path to a
//! backend, which health checks judge: it is counted, and ends no flow.

use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        backend::Backend,
        counter::Verdict,
        flow::{FlowKey, Ports},
        rate::Kind,
    },
    tunnel::Outer,
    wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Datagram, Fragment, Ip, IpHeader},
};

use super::step::Next;
use crate::{
    clock, exit,
    flow::Entry,
    half_open::{self, HalfOpen},
    icmp_error,
    packet::Packet,
    rate, rewrite,
    scratch::Room,
};

/// Whether the error in `datagram` is about a packet that came from where the error went,
/// with another inside: who goes on with it then.
#[inline(always)]
pub(crate) fn inside<H: Hook, A: Ip>(cursor: &Cursor<H>, datagram: &Datagram<A>) -> Option<Next> {
    let l3 = datagram.l4 as usize + wire::ICMP_LEN;
    let header: &A::Header = cursor.read(l3).ok()?;
    // An outer header of ebb's has no options and is no fragment's; nor do routers put
    // options into what they say about it, and so all of it lies near.
    let is_near = datagram.l4 as usize == datagram.l3 as usize + A::HEADER_LEN;
    if !is_near || !header.is_plain() || header.from() != datagram.destination {
        return None;
    }
    match header.payload_protocol() {
        wire::IPIP => Some(Next::TunnelV4),
        wire::IPV6_IN => Some(Next::TunnelV6),
        _ => None,
    }
}

/// Turns the error whose ICMP header is at `l4`, and which is about a tunnel of `outer`,
/// into one about the datagram inside, and sends it to the client: the action.
#[inline(always)]
pub(crate) fn tell<H: Hook, A: HalfOpen>(
    cursor: Cursor<H>,
    room: &mut Room<A>,
    outer: Outer,
    l4: u8,
) -> Result<u32, Verdict> {
    let Room {
        datagram, packet, ..
    } = room;
    // Read before anything whose place varies: see `rewrite::to_backend`.
    let tagged = is_tagged(&cursor)?;
    let at = l4 as usize + wire::ICMP_LEN;
    let l3 = (at + outer.header_len()) as u8;
    let seq = read(&cursor, l3, datagram, packet)?;
    let entry = Entry::established(&packet.key)
        .or_else(|| half_open::handshake(&packet.key, clock::now()))
        .ok_or(Verdict::IcmpNoFlow)?;
    let backend = entry.backend()?;
    let (_, varied) = entry.target();
    if entry.is_reply()
        || entry.is_disowned(backend)
        || !rewrite::mode(backend.mode)?.tunnels()
        || !leads_to(&cursor, outer, at, backend, varied.0)?
    {
        return Err(Verdict::IcmpNoFlow);
    }
    // The backend's acknowledgements are not seen, so any number will do that the client
    // has lately sent. It is the client who shrinks its packets, and it asks again whether
    // this one is on its way.
    if packet.is_tcp() && !entry.has_sent(seq) {
        return Err(Verdict::DropIcmp);
    }
    let longest = told::<H, A>(&cursor, outer, l4)?;
    if packet.len <= longest {
        return Err(Verdict::DropIcmp);
    }
    if tagged {
        return Err(Verdict::DropVlan);
    }
    let out = entry.get(exit::of_flow)?;
    exit::check_exit::<H>(out)?;
    rate::limit(Kind::Tunnel, Verdict::DropTooBig)?;
    let macs = (exit::far_end(out, entry.get(|f| f.client_mac)), out.from);
    let says = icmp_error::too_big::<A>(longest);
    let cursor = icmp_error::uncover(cursor, packet, outer, macs, says)?;
    Ok(cursor.send(out.ifindex))
}

/// Reads the datagram inside, at `l3`, as the packet of the client's that it is, and gives
/// its number (TCP).
#[inline(always)]
fn read<H: Hook, A: Ip>(
    cursor: &Cursor<H>,
    l3: u8,
    datagram: &mut Datagram<A>,
    packet: &mut Packet<A>,
) -> Result<u32, Verdict> {
    let ip: &A::Header = cursor.read(l3 as usize)?;
    ip.walk(cursor, l3, datagram)?;
    let is_known = datagram.protocol == wire::TCP || datagram.protocol == wire::UDP;
    if datagram.fragment == Fragment::Later || !is_known {
        return Err(Verdict::IcmpNoFlow);
    }
    let l4 = datagram.l4 as usize;
    let ports = Ports(cursor.read::<wire::Word>(l4)?.value());
    // The second word of both headers: an error of ours has eight bytes of them.
    let second = cursor.read::<wire::Word>(l4 + size_of::<Ports>())?.value();
    *packet = Packet {
        l3,
        l4: datagram.l4,
        key: FlowKey {
            source: datagram.source,
            destination: datagram.destination,
            ports,
            protocol: datagram.protocol as u32,
        },
        len: datagram.len,
        ..Packet::default()
    };
    Ok(u32::from_be(second))
}

/// Whether the outer header at `at` is what ebb puts before the packets of a flow to this
/// backend.
#[inline(always)]
fn leads_to<H: Hook>(
    cursor: &Cursor<H>,
    outer: Outer,
    at: usize,
    backend: &Backend,
    varied: u32,
) -> Result<bool, Verdict> {
    if Outer::to(backend) != outer {
        return Ok(false);
    }
    let [a, b, c, d] = backend.source;
    let (source, destination) = match outer {
        Outer::V4 => {
            let header: &wire::Ipv4 = cursor.read(at)?;
            let same = header.source() == a | varied;
            (same, header.destination() == backend.address[0])
        }
        Outer::V6 => {
            let header: &wire::Ipv6 = cursor.read(at)?;
            let same = header.source() == [a, b, c, d | varied];
            (same, header.destination() == backend.address)
        }
    };
    Ok(source && destination)
}

/// How long a datagram inside may be, by what the error at `l4` tells of the tunnel.
#[inline(always)]
fn told<H: Hook, A: Ip>(cursor: &Cursor<H>, outer: Outer, l4: u8) -> Result<u32, Verdict> {
    let error: &wire::Icmp = cursor.read(l4 as usize)?;
    let (kind, code, word) = (error.kind(), error.code(), u32::from_be(error.rest()));
    let is_about_length = match outer {
        Outer::V4 => icmp_error::is_too_big::<Addr4>(kind, code),
        Outer::V6 => icmp_error::is_too_big::<Addr6>(kind, code),
    };
    if !is_about_length {
        return Err(Verdict::DropTunnel);
    }
    let mtu = match outer {
        Outer::V4 => icmp_error::believed_mtu::<Addr4>(word)?,
        Outer::V6 => icmp_error::believed_mtu::<Addr6>(word)?,
    };
    let longest = mtu.saturating_sub(outer.header_len() as u32);
    Ok(if A::V6 && longest < wire::IPV6_LEAST_MTU {
        // Nobody cuts shorter (RFC 2473, section 7.1).
        wire::IPV6_LEAST_MTU
    } else {
        longest
    })
}

/// A tag of the backend's side says nothing on the client's, and the tunnel has none.
#[inline(always)]
fn is_tagged<H: Hook>(cursor: &Cursor<H>) -> Result<bool, Verdict> {
    let kind = cursor.read::<wire::Ethernet>(0)?.kind();
    let in_frame = kind == wire::ETHERTYPE_VLAN || kind == wire::ETHERTYPE_QINQ;
    Ok(in_frame || cursor.has_tag_beside())
}
