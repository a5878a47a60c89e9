//! The path to a client (nat).
//!
//! All clients of a backend share the source address that ebb translates them to. If the
//! backend is told that packets to one of them are too big, it cuts those to all of them,
//! for ten minutes. So ebb notes the client's path, and clamps the segment size in the SYNs
//! that this client sends from then on. What was agreed on before may be fragmented on its
//! way (IPv4), and the backend hears nothing. Routers do not fragment IPv6: there the
//! backend of an open flow is told all the same, or the flow would hang. That costs the
//! others at most a seventh of their packets' length, for no path is believed to take less
//! than 1280 bytes.

use aya_ebpf::bindings::BPF_ANY;
use lb_common::{
    abi::{
        counter::Verdict,
        flow::Ports,
        path::{PATH_TICKS, Path},
    },
    checksum, wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Ip, IpHeader as _},
};

use crate::{clock, family::Family, maps, packet::Packet};

/// Notes that datagrams to a client may have `mtu` bytes.
#[inline(always)]
pub(crate) fn note<A: Family>(client: &A, mtu: u32, now: u32) {
    let path = Path { mtu, seen: now };
    // A full table forgets the oldest.
    let _ = A::paths().insert(client, &path, BPF_ANY as u64);
    if let Some(last) = maps::LAST_PATH.get_ptr_mut(0) {
        // SAFETY: two aligned words that every CPU writes; which one is last does not
        // matter.
        unsafe { *last = path };
    }
}

/// Lets routers fragment the packet. Its identification, if it has none, is of what differs
/// between two datagrams of a flow: the sequence number of TCP, the checksum of UDP.
#[inline(always)]
pub(crate) fn allow_fragments<H: Hook, A: Ip>(
    cursor: &mut Cursor<H>,
    packet: &Packet<A>,
) -> Result<(), Verdict> {
    let at = packet.l4 as usize + size_of::<Ports>();
    let differs = cursor.read::<wire::Word>(at)?.value();
    let id = (differs ^ differs >> 16) as u16;
    cursor
        .header::<A::Header>(packet.l3 as usize)?
        .allow_fragments(id);
    Ok(())
}

/// Lets a client's SYN promise no longer segments than its path takes.
#[inline(always)]
pub(crate) fn clamp<H: Hook, A: Family>(
    cursor: &mut Cursor<H>,
    packet: &Packet<A>,
) -> Result<(), Verdict> {
    let now = clock::now();
    let is_fresh = |path: &Path| path.mtu != 0 && now.wrapping_sub(path.seen) <= PATH_TICKS;
    if !maps::LAST_PATH.get(0).is_some_and(is_fresh) {
        return Ok(());
    }
    // SAFETY: copied at once.
    let path = unsafe { A::paths().get(&packet.key.source) }.copied();
    let Some(path) = path.filter(is_fresh) else {
        return Ok(());
    };
    let headers = <A as lb_common::abi::address::Address>::HEADER_LEN + wire::TCP_LEN;
    limit(cursor, packet, path.mtu.saturating_sub(headers as u32))
}

/// The option for the segment size (RFC 9293, section 3.7.1), as every stack sends it: the
/// first one. Another order is left alone.
#[inline(always)]
fn limit<H: Hook, A: Ip>(
    cursor: &mut Cursor<H>,
    packet: &Packet<A>,
    most: u32,
) -> Result<(), Verdict> {
    const KIND_AND_LEN: u32 = 0x0204_0000;
    let l4 = packet.l4 as usize;
    let words = cursor.read::<wire::Tcp>(l4)?.data_offset() >> 4;
    if words as usize * 4 < wire::TCP_LEN + size_of::<u32>() {
        return Ok(());
    }
    let option = cursor.header::<wire::Word>(l4 + wire::TCP_LEN)?;
    let old = u32::from_be(option.value());
    if old & 0xFFFF_0000 != KIND_AND_LEN || old & 0xFFFF <= most {
        return Ok(());
    }
    let new = KIND_AND_LEN | most;
    option.set_value(new.to_be());
    let own = checksum::difference(old.to_be() as u64, new.to_be() as u64, 1);
    cursor.mend::<wire::Tcp>(l4, 0, own)
}
