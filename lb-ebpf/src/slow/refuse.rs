//! Refusals and other answers, decided: [`super::act`] makes them.

use lb_common::{abi::counter::Verdict, tcp};
use lb_ebpf::ip::Ip;

use super::step::{Next, Step};
use crate::{packet::Packet, scratch::Answer};

/// Refuses a new flow so that the client learns at once: a RST, or for UDP an ICMP
/// error. A later fragment is never answered (RFC 1122, section 3.2.2).
#[inline(always)]
pub(crate) fn refuse<A: Ip>(
    packet: &Packet<A>,
    answer: &mut Answer,
    tcp: Verdict,
    udp: Verdict,
) -> Step {
    if packet.is_tcp() {
        return reset(packet, answer, tcp);
    }
    if !packet.has_l4 {
        return Err(Verdict::DropFragment);
    }
    *answer = Answer {
        verdict: udp as u32,
        longest: 0,
    };
    Ok(Next::Answer)
}

/// Tells the sender that its packet has used up its hops here.
#[inline(always)]
pub(crate) fn expired<A: Ip>(packet: &Packet<A>, answer: &mut Answer) -> Step {
    if !packet.has_l4 {
        return Err(Verdict::DropTtl);
    }
    *answer = Answer {
        verdict: Verdict::TimeExceeded as u32,
        longest: 0,
    };
    Ok(Next::Answer)
}

/// A RST, if there is a TCP header to make it of. A RST is never answered: it is
/// dropped.
#[inline(always)]
pub(crate) fn reset<A: Ip>(packet: &Packet<A>, answer: &mut Answer, verdict: Verdict) -> Step {
    if !packet.has_l4 {
        return Err(Verdict::DropFragment);
    }
    if packet.has(tcp::RST) {
        return Err(Verdict::DropNoFlow);
    }
    *answer = Answer {
        verdict: verdict as u32,
        longest: 0,
    };
    Ok(Next::Answer)
}

/// Tells the sender that its packet is too big for the way out, which takes datagrams of
/// `longest` bytes.
#[inline(always)]
pub(crate) fn too_big<A: Ip>(packet: &Packet<A>, answer: &mut Answer, longest: u32) -> Step {
    if !packet.has_l4 {
        return Err(Verdict::DropFragment);
    }
    *answer = Answer {
        verdict: Verdict::TooBig as u32,
        longest,
    };
    Ok(Next::Answer)
}
