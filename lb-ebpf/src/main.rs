//! The kernel program of ebb.
#![no_std]
#![no_main]

// On the host the crate is only checked, never run; there std brings the panic
// handler, because another member of the workspace may bring std.
#[cfg(not(target_arch = "bpf"))]
extern crate std;

mod maps;

use aya_ebpf::{bindings::xdp_action, macros::xdp, programs::XdpContext};

/// The kernel grants its GPL-only helpers to programs that name this licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[xdp]
fn ebb(_ctx: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
