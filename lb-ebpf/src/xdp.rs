//! The program at XDP.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    macros::xdp,
    programs::XdpContext,
};
use lb_common::abi::address::{Addr4, Addr6};
use lb_ebpf::hook::xdp::Xdp;

use crate::program::{enter, slow_path};

/// The program: forwards what is of a flow or begins one, leaves the rest.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn ebb(context: XdpContext) -> u32 {
    // SAFETY: this is the context that the kernel passed.
    let hook = unsafe { Xdp::new(context.ctx) };
    let context = context.ctx;
    enter(
        hook,
        |missed| watched(context, slow_v4(context, missed)),
        |missed| watched(context, slow_v6(context, missed)),
    )
}

slow_path!(
    Xdp,
    xdp_md,
    xdp_action::XDP_ABORTED,
    Addr4,
    slow_v4,
    read_v4,
    connection_v4,
    bind_v4,
    icmp_v4,
    send_v4,
    answer_v4,
    tunnel_v4,
    inside tunnel_v4,
    tunnel_v6
);
slow_path!(
    Xdp,
    xdp_md,
    xdp_action::XDP_ABORTED,
    Addr6,
    slow_v6,
    read_v6,
    connection_v6,
    bind_v6,
    icmp_v6,
    send_v6,
    answer_v6,
    tunnel_v6,
    inside tunnel_v4,
    tunnel_v6
);

/// Logs the packet that should not have happened, if the agent asked for that.
#[inline(always)]
fn watched(context: *mut xdp_md, action: u32) -> u32 {
    if action == xdp_action::XDP_ABORTED {
        log_internal(context);
    }
    action
}

/// The one thing that is logged from here: the kernel refused a helper call, or a
/// rule of our own is broken. The agent sets the level when it loads the program;
/// at level 0, the default, the verifier takes this out.
#[inline(never)]
fn log_internal(context: *mut xdp_md) {
    let context = XdpContext::new(context);
    aya_log_ebpf::error!(
        &context,
        "an internal error dropped a packet of {} bytes that came in by interface {}",
        context.data_end() - context.data(),
        context.ingress_ifindex()
    );
}
