//! What the flow says is done to the packet: nat, dsr, ipip.

use lb_common::{
    abi::{
        backend::Backend,
        counter::Verdict,
        exit::Exit,
        flow::{Flow, Ports},
    },
    checksum,
    mode::Mode,
    tunnel::{Inner, Outer},
    wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Ip, IpHeader},
};

use crate::{exit, family::Family, maps, packet::Packet};

/// The forwarding mode that a map names by its byte.
#[inline(always)]
pub(crate) fn mode(byte: u8) -> Result<Mode, Verdict> {
    Mode::of_byte(byte).ok_or(Verdict::DropInternal)
}

/// A client's packet, on to its backend; nat makes it come from `source` and
/// `ports`. Under ipip `ports` is what [`varied`] gave.
#[inline(always)]
pub(crate) fn to_backend<H: Hook, A: Family>(
    mut cursor: Cursor<H>,
    packet: &Packet<A>,
    (source, ports): (A, Ports),
    backend: &Backend,
    mode: Mode,
) -> Result<u32, Verdict> {
    match mode {
        Mode::Nat | Mode::Dsr => keeps_tag(&cursor, packet, backend.ifindex)?,
        // It stays behind.
        Mode::Ipip => {}
    }
    match mode {
        Mode::Nat => {
            set_macs(&mut cursor, backend)?;
            let address = A::from_words(backend.address);
            translate(&mut cursor, packet, source, address, ports)?;
        }
        Mode::Dsr => {
            set_macs(&mut cursor, backend)?;
            spend_hop(&mut cursor, packet)?;
        }
        Mode::Ipip => {
            spend_hop(&mut cursor, packet)?;
            cursor = encapsulate(cursor, packet, ports.0, backend)?;
            set_macs(&mut cursor, backend)?;
        }
    }
    Ok(cursor.send(backend.ifindex))
}

/// A backend's packet, back to the client (nat only).
#[inline(always)]
pub(crate) fn to_client<H: Hook, A: Family>(
    mut cursor: Cursor<H>,
    packet: &Packet<A>,
    entry: &Flow<A>,
    exit: &Exit,
) -> Result<u32, Verdict> {
    let listener = A::listeners()
        .get(entry.listener as u32)
        .ok_or(Verdict::DropInternal)?;
    keeps_tag(&cursor, packet, exit.ifindex)?;
    cursor
        .header::<wire::Ethernet>(0)?
        .set_macs(exit::far_end(exit, entry.client_mac), exit.from);
    let (client, ports) = (entry.peer, entry.ports);
    translate(&mut cursor, packet, listener.address, client, ports)?;
    Ok(cursor.send(exit.ifindex))
}

/// A VLAN's tag has a meaning on the link that it came by, and leaves by no other.
#[inline(always)]
pub(crate) fn keeps_tag<H: Hook, A: Ip>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    out: u32,
) -> Result<(), Verdict> {
    let tagged = packet.l3 as usize != wire::ETHERNET_LEN || cursor.has_tag_beside();
    if tagged && out != cursor.ifindex() {
        return Err(Verdict::DropVlan);
    }
    Ok(())
}

/// The link header that leads to a backend.
///
/// Written before anything whose place varies: the compiler would know from that that
/// the link header is there, and the verifier would not.
#[inline(always)]
pub(crate) fn set_macs<H: Hook>(cursor: &mut Cursor<H>, backend: &Backend) -> Result<(), Verdict> {
    cursor
        .header::<wire::Ethernet>(0)?
        .set_mac_words(backend.macs);
    Ok(())
}

/// Whether the packet has a hop left after the one that ebb takes, as every router does:
/// two balancers that name each other send nothing to and fro for ever. To be asked before
/// anything is written, of the packet or of its flow.
#[inline(always)]
pub(crate) fn lives_on<A>(packet: &Packet<A>) -> bool {
    packet.hops > 1
}

/// Takes the hop.
#[inline(always)]
fn spend_hop<H: Hook, A: Ip>(cursor: &mut Cursor<H>, packet: &Packet<A>) -> Result<(), Verdict> {
    cursor.header::<A::Header>(packet.l3 as usize)?.spend_hop();
    Ok(())
}

/// Writes new addresses and ports; the checksums follow by difference, so that
/// one that was wrong stays wrong and the receiver finds it.
#[inline(always)]
fn translate<H: Hook, A: Ip>(
    cursor: &mut Cursor<H>,
    packet: &Packet<A>,
    source: A,
    destination: A,
    ports: Ports,
) -> Result<(), Verdict> {
    let ip = cursor.header::<A::Header>(packet.l3 as usize)?;
    let addresses = ip.readdress(source, destination, packet.hops - 1);
    if !packet.has_l4 {
        return Ok(());
    }
    let own = checksum::difference(packet.key.ports.0 as u64, ports.0 as u64, 1);
    let l4 = packet.l4 as usize;
    if packet.is_tcp() {
        cursor.header::<wire::Tcp>(l4)?.set_ports(ports.0);
        cursor.mend::<wire::Tcp>(l4, addresses, own)
    } else {
        cursor.header::<wire::Udp>(l4)?.set_ports(ports.0);
        cursor.mend::<wire::Udp>(l4, addresses, own)
    }
}

/// How long a datagram to this backend may be.
#[inline(always)]
pub(crate) fn room(backend: &Backend, mode: Mode) -> u32 {
    let mtu = backend.mtu as u32;
    match mode {
        Mode::Nat | Mode::Dsr => mtu,
        Mode::Ipip => mtu.saturating_sub(Outer::to(backend).header_len() as u32),
    }
}

/// Whether the packet fits the link to its backend, cut into segments if it will be.
#[inline(always)]
pub(crate) fn fits<H: Hook, A: Ip>(
    cursor: &Cursor<H>,
    packet: &Packet<A>,
    backend: &Backend,
    mode: Mode,
) -> bool {
    match mode {
        Mode::Nat | Mode::Dsr => fits_link(cursor, packet, backend.mtu),
        Mode::Ipip => {
            let len = cursor.segment_len(packet.len, packet.headers_len());
            len + Outer::to(backend).header_len() as u32 <= backend.mtu as u32
        }
    }
}

/// Whether the packet fits a link of this MTU, cut into segments if it will be. Zero: the
/// MTU is not known.
#[inline(always)]
pub(crate) fn fits_link<H: Hook, A: Ip>(cursor: &Cursor<H>, packet: &Packet<A>, mtu: u16) -> bool {
    let len = cursor.segment_len(packet.len, packet.headers_len());
    len <= mtu.wrapping_sub(1) as u32 + 1
}

/// What varies in the outer source address of a flow's packets, as on the wire:
/// the receiver spreads them over its queues by it.
#[inline(always)]
pub(crate) fn varied<A: Ip>(packet: &Packet<A>, backend: &Backend) -> Result<Ports, Verdict> {
    let settings = maps::SETTINGS.get(0).ok_or(Verdict::DropInternal)?;
    let bits = match Outer::to(backend) {
        Outer::V4 => settings.tunnel_bits_v4,
        Outer::V6 => settings.tunnel_bits_v6,
    };
    let hash = packet.key.hash(settings.nat_seed);
    Ok(Ports((hash & low_bits(bits)).to_be()))
}

/// Puts an outer header before the packet.
#[inline(always)]
fn encapsulate<H: Hook, A: Ip>(
    cursor: Cursor<H>,
    packet: &Packet<A>,
    varied: u32,
    backend: &Backend,
) -> Result<Cursor<H>, Verdict> {
    let outer = Outer::to(backend);
    let class = cursor.read::<A::Header>(packet.l3 as usize)?.class();
    let inner = Inner {
        v6: A::V6,
        len: packet.len as u16,
        class: backend.outer_class(class),
        varied,
    };
    // A tag of the client's side stays behind: the link to the backend is
    // untagged.
    let mut cursor = cursor.encapsulate(packet.l3 as usize, outer.header_len())?;
    cursor
        .header::<wire::Ethernet>(0)?
        .set_kind(outer.ethertype());
    match outer {
        Outer::V4 => inner.begin_v4(cursor.header(wire::ETHERNET_LEN)?, backend),
        Outer::V6 => inner.begin_v6(cursor.header(wire::ETHERNET_LEN)?, backend),
    }
    Ok(cursor)
}

#[inline(always)]
fn low_bits(bits: u8) -> u32 {
    ((1_u64 << (bits & 63)) - 1) as u32
}
