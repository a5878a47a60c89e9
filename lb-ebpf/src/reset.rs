//! Answers with a TCP RST, made of the packet itself, so that its numbers are
//! exact (RFC 9293, section 3.10.7.1).

use lb_common::{abi::counter::Verdict, tcp, wire};
use lb_ebpf::{
    cursor::Cursor,
    hook::Hook,
    ip::{Ip, IpHeader as _},
};

use crate::packet::Packet;

/// Turns the packet into the RST that answers it.
#[inline(always)]
pub(crate) fn build<H: Hook, A: Ip>(cursor: Cursor<H>, packet: &Packet<A>) -> Result<(), Verdict> {
    let l3 = packet.l3 as usize;
    let l4 = l3 + A::HEADER_LEN;
    let (from, to) = (packet.key.destination, packet.key.source);
    let mut cursor = cursor.cut(l4 + wire::TCP_LEN)?;
    cursor.header::<wire::Ethernet>(0)?.turn();
    cursor
        .header::<A::Header>(l3)?
        .write(wire::TCP, wire::TCP_LEN as u16, from, to);

    // With an acknowledgement the RST takes its number and says nothing more;
    // without one it acknowledges all that came.
    let (seq, ack, flags) = if packet.has(tcp::ACK) {
        (packet.segment.ack, 0, tcp::RST)
    } else {
        (0, packet.segment.next_seq, tcp::RST | tcp::ACK)
    };
    let header = cursor.header::<wire::Tcp>(l4)?;
    header.set_ports(packet.key.ports.swapped().0);
    header.set_seq(seq.to_be());
    header.set_ack(ack.to_be());
    header.set_data_offset(OFFSET);
    header.set_flags(flags);
    header.set_window(0);
    header.set_urgent(0);
    let pseudo = from.sum()
        + to.sum()
        + (wire::TCP as u16).to_be() as u64
        + (wire::TCP_LEN as u16).to_be() as u64;
    let own = packet.key.ports.0 as u64
        + seq.to_be() as u64
        + ack.to_be() as u64
        + u16::from_ne_bytes([OFFSET, flags]) as u64;
    cursor.seal::<wire::Tcp>(l4, pseudo, own)
}

/// The data offset of a header without options.
const OFFSET: u8 = (wire::TCP_LEN as u8 / 4) << 4;
