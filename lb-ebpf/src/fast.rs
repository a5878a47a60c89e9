//! The hit path: a packet without anything unusual, of an established flow.
//! One hash look-up, one backend entry, one row of counters.

use lb_common::{
    abi::{counter::Verdict, flow::FRAGMENTS},
    mode::Mode,
    tcp, wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook, ip::IpHeader};

use crate::{
    classify, clock, exit,
    family::Family,
    flow::{self, Entry, Load},
    icmp_error, maps,
    packet::{self, Packet},
    rewrite,
};

/// What the hit path says of a packet.
pub(crate) enum Fast {
    /// It is done with: the action to take.
    Done(u32),
    /// It wants a closer look. Nothing was written.
    Look,
    /// As above; and no established flow has its tuple.
    Miss,
}

/// The hit path of one family. `Err` without a closer look only for what is
/// surely not ours, or malformed.
#[inline(always)]
pub(crate) fn path<H: Hook, A: Family>(mut cursor: Cursor<H>) -> Result<Fast, Verdict> {
    const L3: usize = wire::ETHERNET_LEN;
    let ip: &A::Header = cursor.read(L3)?;
    if !ip.is_plain() {
        return Ok(Fast::Look);
    }
    let l4 = L3 + A::HEADER_LEN;
    let mut packet = Packet::default();
    let place = (L3 as u8, l4 as u8, ip.payload_protocol());
    if !packet::transport::<H, A>(&cursor, ip, place, true, &mut packet)? {
        return if classify::maybe_between(ip.from(), ip.to())
            || is_icmp_error::<H, A>(&cursor, place)
        {
            Ok(Fast::Look)
        } else {
            Err(Verdict::NotOurs)
        };
    }
    // The look-up wants the key in memory; apart from it, the packet's facts
    // stay in registers.
    let key = packet.key;
    let Some(entry) = Entry::established(&key) else {
        return if classify::maybe_between(ip.from(), ip.to()) {
            Ok(Fast::Miss)
        } else {
            Err(Verdict::NotOurs)
        };
    };
    let index = entry.get(|f| f.backend);
    let backend = maps::BACKENDS
        .get(index as u32)
        .ok_or(Verdict::DropInternal)?;
    let state = entry.state();
    let unusual = packet.has(tcp::SYN | tcp::FIN | tcp::RST)
        || !rewrite::lives_on(&packet)
        || !entry.fits(&packet)
        || state & (tcp::CLOSED | tcp::CLIENT_FIN | tcp::WAS_RESET | FRAGMENTS) != 0
        || entry.get(|f| f.epoch) != backend.epoch;
    if unusual {
        return Ok(Fast::Look);
    }
    if entry.is_reply() {
        if cursor.ifindex() != backend.ifindex {
            return Ok(Fast::Look);
        }
        let exit = entry.get(exit::of_flow)?;
        exit::check_exit::<H>(exit)?;
        if !rewrite::fits_link(&cursor, &packet, exit.mtu) {
            return Ok(Fast::Look);
        }
        let load = Load::of(&cursor, &packet);
        let action = entry.get(|f| rewrite::to_client(cursor, &packet, f, exit))?;
        entry.note(&packet, clock::now());
        flow::count_out(index, load);
        return Ok(Fast::Done(action));
    }
    exit::check_backend::<H>(backend)?;
    let mode = rewrite::mode(backend.mode)?;
    if !rewrite::fits(&cursor, &packet, backend, mode) {
        return Ok(Fast::Look);
    }
    match mode {
        // Only nat answers by way of the client's MAC address.
        Mode::Nat => {
            let ethernet = cursor.header::<wire::Ethernet>(0)?;
            if ethernet.source() != entry.get(|f| f.client_mac) {
                return Ok(Fast::Look);
            }
        }
        Mode::Dsr | Mode::Ipip => {}
    }
    let load = Load::of(&cursor, &packet);
    let action = rewrite::to_backend(cursor, &packet, entry.target(), backend, mode)?;
    entry.note(&packet, clock::now());
    flow::count_in(index, load);
    Ok(Fast::Done(action))
}

/// An error may be about a tunnel of ebb's, from whatever address that came.
#[inline(always)]
fn is_icmp_error<H: Hook, A: Family>(cursor: &Cursor<H>, (_, l4, protocol): (u8, u8, u8)) -> bool {
    let icmp = if A::V6 { wire::ICMPV6 } else { wire::ICMP };
    protocol == icmp
        && cursor
            .read::<wire::Icmp>(l4 as usize)
            .is_ok_and(|header| icmp_error::is_one::<A>(header.kind()))
}
