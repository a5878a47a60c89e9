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
    checksum,
    tcp::options::{self, Options},
    wire,
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
    let most = path.mtu.saturating_sub(headers as u32);
    // No path that is believed takes more than 65,535 bytes.
    limit(cursor, packet, most as u16)
}

/// Lets the option for the segment size promise no more than `most`, wherever among the
/// options it is.
#[inline(always)]
fn limit<H: Hook, A: Ip>(
    cursor: &mut Cursor<H>,
    packet: &Packet<A>,
    most: u16,
) -> Result<(), Verdict> {
    let l4 = packet.l4 as usize;
    let mut options = [0; options::ROOM];
    let end = (cursor.read::<wire::Tcp>(l4)?.data_offset() >> 4) as usize * 4;
    for (word, room) in options.as_chunks_mut().0.iter_mut().enumerate() {
        let at = wire::TCP_LEN + word * size_of::<u32>();
        if at < end {
            *room = *cursor.read::<[u8; size_of::<u32>()]>(l4 + at)?;
        }
    }
    let place = segment_size_in(&options) as usize;
    if place >= options::ROOM {
        return Ok(());
    }
    let option = l4 + wire::TCP_LEN + place;
    let [_, _, size @ ..] = cursor.header::<[u8; options::SEGMENT_SIZE_LEN]>(option)?;
    let old = u16::from_be_bytes(*size);
    if old <= most {
        return Ok(());
    }
    *size = most.to_be_bytes();
    // As both lie in memory; in an odd place each byte is in the other half of a word, and
    // the sum has its halves exchanged (RFC 1071, section 2 B).
    let (old, new) = if place.is_multiple_of(2) {
        (old.to_be(), most.to_be())
    } else {
        (old.to_le(), most.to_le())
    };
    let own = checksum::difference(old as u64, new as u64, 1);
    cursor.mend::<wire::Tcp>(l4, 0, own)
}

/// Where the option for the segment size begins; no place among them if there is none.
///
/// A function of its own, so that the verifier does not multiply the places by what is
/// done to the packet afterwards. `extern "C"` over a pointer to what has a size is the form
/// that it accepts, and it wants to see it compared with null.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn segment_size_in(options: *const Options) -> u32 {
    // SAFETY: callers pass a reference; the verifier has seen that.
    let place = unsafe { options.as_ref() }.and_then(options::segment_size);
    place.unwrap_or(options::ROOM) as u32
}
