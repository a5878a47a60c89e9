//! The program at TC, where a packet comes in; and the one for devices whose packets have no
//! link header (tun, WireGuard, PPP).

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT},
    macros::classifier,
    programs::TcContext,
};
use lb_common::{
    abi::{
        address::{Addr4, Addr6},
        counter::Verdict,
    },
    wire,
};
use lb_ebpf::{
    cursor::Cursor,
    hook::tc::Tc,
    ip::{Ip, IpHeader as _},
};

use crate::{
    classify,
    program::{end, enter, slow_path},
};

/// The program: forwards what is of a flow or begins one, leaves the rest.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn ebb_tc(context: TcContext) -> i32 {
    let context = context.skb.skb;
    // SAFETY: this is the context that the kernel passed.
    run(context, unsafe { Tc::new(context) }) as i32
}

/// As above, where packets have no link header. They are given one, as far as they may be
/// ours: so all else sees the same everywhere, and a packet can leave by a device that wants
/// one. The kernel takes it off where a packet leaves by one that does not.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn ebb_tc_bare(context: TcContext) -> i32 {
    let context = context.skb.skb;
    // SAFETY: this is the context that the kernel passed.
    let hook = unsafe { Tc::new(context) };
    hook.pull();
    let may_be_ours = match hook.protocol() {
        wire::ETHERTYPE_IPV4 => is_for_us::<Addr4>(hook),
        wire::ETHERTYPE_IPV6 => is_for_us::<Addr6>(hook),
        _ => false,
    };
    if !may_be_ours {
        return end(hook, Verdict::NotOurs) as i32;
    }
    match hook.put_link_header() {
        Ok(()) => run(context, hook) as i32,
        Err(verdict) => end(hook, verdict) as i32,
    }
}

/// A packet without a link header is to an address of ours; or it is ICMP, which may be about
/// a tunnel from an address that nobody has.
#[inline(always)]
fn is_for_us<A: Ip>(hook: Tc) -> bool {
    let cursor = Cursor::new(hook);
    let icmp = if A::V6 { wire::ICMPV6 } else { wire::ICMP };
    cursor.read::<A::Header>(0).is_ok_and(|header| {
        classify::maybe_between(header.from(), header.to()) || header.payload_protocol() == icmp
    })
}

#[inline(always)]
fn run(context: *mut __sk_buff, hook: Tc) -> u32 {
    // The hit path takes what is readable as it comes, which most headers are.
    enter(
        hook,
        |missed| {
            hook.pull();
            slow_tc_v4(context, missed)
        },
        |missed| {
            hook.pull();
            slow_tc_v6(context, missed)
        },
    )
}

slow_path!(
    Tc,
    __sk_buff,
    TC_ACT_SHOT as u32,
    Addr4,
    slow_tc_v4,
    read_tc_v4,
    connection_tc_v4,
    bind_tc_v4,
    icmp_tc_v4,
    send_tc_v4,
    answer_tc_v4,
    tunnel_tc_v4,
    inside tunnel_tc_v4,
    tunnel_tc_v6
);
slow_path!(
    Tc,
    __sk_buff,
    TC_ACT_SHOT as u32,
    Addr6,
    slow_tc_v6,
    read_tc_v6,
    connection_tc_v6,
    bind_tc_v6,
    icmp_tc_v6,
    send_tc_v6,
    answer_tc_v6,
    tunnel_tc_v6,
    inside tunnel_tc_v4,
    tunnel_tc_v6
);
