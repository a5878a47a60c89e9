//! Refusals and other answers, decided: [`super::act`] makes them.

use lb_common::{
    abi::{backend::Backend, counter::Verdict},
    tcp,
};
use lb_ebpf::ip::Ip;

use super::step::{Next, Step};
use crate::{maps, packet::Packet, rewrite, scratch::Answer};

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

/// Tells the sender that its packet is too big for the next hop.
#[inline(always)]
pub(crate) fn too_big<A: Ip>(
    packet: &Packet<A>,
    answer: &mut Answer,
    backend: &Backend,
    now: u32,
) -> Step {
    let rate = maps::ICMP_RATE
        .get_ptr_mut(0)
        .ok_or(Verdict::DropInternal)?;
    // SAFETY: this CPU's own value; the program is not preempted by itself.
    if !unsafe { &mut *rate }.allows(now) {
        return Err(Verdict::DropTooBig);
    }
    if !packet.has_l4 {
        return Err(Verdict::DropFragment);
    }
    *answer = Answer {
        verdict: Verdict::TooBig as u32,
        longest: rewrite::room(backend),
    };
    Ok(Next::Answer)
}
