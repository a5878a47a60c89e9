//! The kernel program of ebb: one straight way for a packet.
//!
//! How it gets at a packet, at whichever hook, is in the [library](lb_ebpf) of this
//! crate. The modules here, from the bottom up; each imports only what stands before
//! it:
//!
//! - [`atomic`]: atomic operations.
//! - [`packet`]: a TCP or UDP packet, read.
//! - [`scratch`]: room for what the stack has not.
//! - [`maps`], [`family`]: the tables, and which of them a family uses.
//! - [`clock`]: the time. [`rate`]: a limit to what we send ourselves.
//! - [`interface`]: where a packet came in.
//! - [`flow`], [`half_open`]: the flows, established and not yet.
//! - [`exit`]: the way out to a client, and whether a hook reaches it.
//! - [`nat_port`]: the ports that nat has bound.
//! - [`classify`], [`select`]: whose packet it is, and which backend's.
//! - [`parse`]: packets of any shape.
//! - [`path`]: what is known of the way to a client.
//! - [`rewrite`]: what is done to a packet, and out it goes. [`split`]: in two.
//! - [`reset`], [`icmp_error`]: answers made of the packet itself.
//! - [`fast`]: the hit path, and what is not ours. [`slow`]: everything else.
//! - [`program`]: what the programs of all hooks have in common. [`mod@xdp`], [`tc`]: the
//!   ones at XDP and at TC, where devices without link headers have one of their own. [`lost`]: what the kernel has lost after them.
//!
//! A step returns what it found, or the [verdict](lb_common::abi::counter::Verdict)
//! that ends the way.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![expect(
    clippy::needless_borrows_for_generic_args,
    reason = "a key that is passed by value is copied, and the stack is 512 bytes"
)]

// On the host the crate is only checked, never run; there std brings the panic
// handler, because another member of the workspace may bring std.
#[cfg(not(target_arch = "bpf"))]
extern crate std;

mod atomic;
mod classify;
mod clock;
mod exit;
mod family;
mod fast;
mod flow;
mod half_open;
mod icmp_error;
mod interface;
mod lost;
mod maps;
mod nat_port;
mod packet;
mod parse;
mod path;
mod program;
mod rate;
mod reset;
mod rewrite;
mod scratch;
mod select;
mod slow;
mod split;
mod tc;
mod xdp;

/// The kernel grants its GPL-only helpers to programs that name this licence.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
