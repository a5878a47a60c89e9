//! What the flow says is done to the packet: nat, dsr, ipip.

use lb_common::{
    abi::{backend::Backend, counter::Verdict, flow::Ports},
    checksum,
    mode::Mode,
    tunnel::{Inner, Outer},
    wire,
};

use crate::{
    cursor::Cursor,
    emit,
    family::{Family, IpHeader},
    flow::Entry,
    maps,
    parse::Packet,
};

/// The forwarding mode that a map names by its byte.
#[inline(always)]
pub(crate) fn mode(byte: u8) -> Result<Mode, Verdict> {
    Mode::of_byte(byte).ok_or(Verdict::DropInternal)
}

/// A client's packet, on to its backend; nat makes it come from `source` and
/// `ports`. Under ipip `ports` is what [`varied`] gave.
#[inline(always)]
pub(crate) fn to_backend<A: Family>(
    mut cursor: Cursor,
    packet: &Packet<A>,
    (source, ports): (A, Ports),
    backend: &Backend,
    mode: Mode,
) -> Result<u32, Verdict> {
    match mode {
        Mode::Nat => translate(
            &mut cursor,
            packet,
            source,
            A::from_words(backend.address),
            ports,
        )?,
        Mode::Dsr => {}
        Mode::Ipip => cursor = encapsulate(cursor, packet, ports.0, backend)?,
    }
    cursor
        .header::<wire::Ethernet>(0)?
        .set_mac_words(backend.macs);
    Ok(emit::out(&cursor, backend.ifindex))
}

/// A backend's packet, back to the client (nat only).
#[inline(always)]
pub(crate) fn to_client<A: Family>(
    mut cursor: Cursor,
    packet: &Packet<A>,
    entry: Entry<A>,
) -> Result<u32, Verdict> {
    let listener = A::listeners()
        .get(entry.get(|f| f.listener) as u32)
        .ok_or(Verdict::DropInternal)?;
    let interface = maps::INTERFACES
        .get(entry.get(|f| f.interface) as u32)
        .ok_or(Verdict::DropNoWay)?;
    translate(
        &mut cursor,
        packet,
        listener.address,
        entry.get(|f| f.peer),
        entry.get(|f| f.ports),
    )?;
    cursor
        .header::<wire::Ethernet>(0)?
        .set_macs(entry.get(|f| f.client_mac), interface.mac);
    Ok(emit::out(&cursor, interface.ifindex))
}

/// Writes new addresses and ports; the checksums follow by difference, so that
/// one that was wrong stays wrong and the receiver finds it.
#[inline(always)]
fn translate<A: Family>(
    cursor: &mut Cursor,
    packet: &Packet<A>,
    source: A,
    destination: A,
    ports: Ports,
) -> Result<(), Verdict> {
    if packet.hops <= 1 {
        return Err(Verdict::DropTtl);
    }
    let ip = cursor.header::<A::Header>(packet.l3 as usize)?;
    let addresses = ip.readdress(source, destination, packet.hops - 1);
    if !packet.has_l4 {
        return Ok(());
    }
    let difference = addresses + checksum::difference(packet.key.ports.0 as u64, ports.0 as u64, 1);
    if packet.is_tcp() {
        let header = cursor.header::<wire::Tcp>(packet.l4 as usize)?;
        header.set_ports(ports.0);
        header.set_checksum(checksum::updated(header.checksum(), difference));
    } else {
        let header = cursor.header::<wire::Udp>(packet.l4 as usize)?;
        header.set_ports(ports.0);
        // Zero says that there is none (RFC 768), and is sent as all ones.
        if header.checksum() != 0 {
            let sum = checksum::updated(header.checksum(), difference);
            header.set_checksum(if sum == 0 { 0xFFFF } else { sum });
        }
    }
    Ok(())
}

/// How long a datagram to this backend may be; only an outer header makes one
/// longer than it came.
#[inline(always)]
pub(crate) fn room(backend: &Backend) -> u32 {
    (backend.mtu as u32).saturating_sub(Outer::to(backend).header_len() as u32)
}

/// Whether the packet fits the way to its backend.
#[inline(always)]
pub(crate) fn fits<A: Family>(packet: &Packet<A>, backend: &Backend, mode: Mode) -> bool {
    match mode {
        Mode::Nat | Mode::Dsr => true,
        Mode::Ipip => packet.len + Outer::to(backend).header_len() as u32 <= backend.mtu as u32,
    }
}

/// What varies in the outer source address of a flow's packets, as on the wire:
/// the receiver spreads them over its queues by it.
#[inline(always)]
pub(crate) fn varied<A: Family>(packet: &Packet<A>, backend: &Backend) -> Result<Ports, Verdict> {
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
fn encapsulate<A: Family>(
    cursor: Cursor,
    packet: &Packet<A>,
    varied: u32,
    backend: &Backend,
) -> Result<Cursor, Verdict> {
    let outer = Outer::to(backend);
    let inner = Inner {
        v6: A::V6,
        len: packet.len as u16,
        varied,
    };
    // A tag of the client's side stays behind: the way to the backend is
    // untagged.
    let grow = outer.header_len() as i32 + wire::ETHERNET_LEN as i32 - packet.l3 as i32;
    let mut cursor = cursor.grow_front(grow)?;
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
