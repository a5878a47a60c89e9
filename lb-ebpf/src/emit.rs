//! The last step: out by the right interface.

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect};

use crate::cursor::Cursor;

/// Sends the frame as it is now out of the interface `ifindex`.
#[inline(always)]
pub(crate) fn out(cursor: &Cursor, ifindex: u32) -> u32 {
    if ifindex == cursor.ifindex() {
        xdp_action::XDP_TX
    } else {
        // SAFETY: the helper takes numbers only; an unknown interface becomes
        // XDP_ABORTED, which drops.
        unsafe { bpf_redirect(ifindex, 0) as u32 }
    }
}
