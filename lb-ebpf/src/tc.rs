//! The program at TC, where a packet comes in.

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_SHOT},
    macros::classifier,
    programs::TcContext,
};
use lb_common::abi::address::{Addr4, Addr6};
use lb_ebpf::hook::tc::Tc;

use crate::program::{enter, slow_path};

/// The program: forwards what is of a flow or begins one, leaves the rest.
#[classifier]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn ebb_tc(context: TcContext) -> i32 {
    let context = context.skb.skb;
    // SAFETY: this is the context that the kernel passed.
    let hook = unsafe { Tc::new(context) };
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
    ) as i32
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
