//! The bench's own programs: what ebb is measured against, and what stands
//! before it or at the end of a link.
//!
//! A test run hands a program the packet as its last run left it. So where a
//! program changes what it reads, a front program makes the packet new and then
//! jumps to the program under test; the same front program before [`empty`]
//! tells what it costs itself.
#![no_std]
#![no_main]

// On the host the crate is only checked, never run.
#[cfg(not(target_arch = "bpf"))]
extern crate std;

mod forerunner;
mod maps;
mod packet;

use aya_ebpf::{bindings::xdp_action, helpers::bpf_redirect, macros::xdp, programs::XdpContext};
use lb_common::{
    abi::{
        address::Addr4,
        flow::{FlowKey, Ports},
    },
    tcp, wire,
};

use packet::{Original, header};

#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Sends the packet back as it is: what every other program also costs.
#[xdp]
fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_TX
}

/// Sends the packet out of the interface that it came in by, as a redirect.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn redirect(context: XdpContext) -> u32 {
    // SAFETY: a helper that takes two numbers.
    unsafe { bpf_redirect(context.ingress_ifindex() as u32, 0) as u32 }
}

/// The baseline: reads the headers, looks the flow up in an LRU hash with keys
/// of 16 bytes, swaps the MAC addresses.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn baseline(context: XdpContext) -> u32 {
    look_up_and_swap(&context).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn look_up_and_swap(context: &XdpContext) -> Option<u32> {
    let (ethernet, ip, tcp) = headers(context)?;
    let key = FlowKey {
        source: Addr4(ip.source()),
        destination: Addr4(ip.destination()),
        ports: Ports(tcp.ports()),
        protocol: ip.protocol() as u32,
    };
    // SAFETY: the value is one aligned word, and read at once.
    let found = unsafe { maps::BASELINE.get(key) }.copied();
    if found != Some(1) {
        // Never while it is measured: the bench reads the counter.
        if let Some(missed) = maps::MISSED.get_ptr_mut(0) {
            // SAFETY: this CPU's own counter.
            unsafe { *missed += 1 };
        }
        return Some(xdp_action::XDP_DROP);
    }
    ethernet.turn();
    Some(xdp_action::XDP_TX)
}

/// The headers of a TCP segment over IPv4 without options.
#[inline(always)]
fn headers(context: &XdpContext) -> Option<(&mut wire::Ethernet, &mut wire::Ipv4, &mut wire::Tcp)> {
    let ethernet = header::<wire::Ethernet>(context, 0)?;
    let ip = header::<wire::Ipv4>(context, wire::ETHERNET_LEN)?;
    let tcp = header::<wire::Tcp>(context, wire::ETHERNET_LEN + wire::IPV4_LEN)?;
    let plain = ethernet.kind() == wire::ETHERTYPE_IPV4
        && ip.version_ihl() == 0x45
        && ip.protocol() == wire::TCP;
    plain.then_some((ethernet, ip, tcp))
}

/// Gives back the hop that was spent.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn restore_hops(context: XdpContext) -> u32 {
    front(&context, |original| original.restore_hops(&context))
}

/// Takes an outer header away, and puts the EtherType and the hops back.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn restore_tunnel(context: XdpContext) -> u32 {
    front(&context, |original| {
        original.shrink(&context)?;
        original.restore_kind(&context)?;
        original.restore_hops(&context)
    })
}

/// Puts everything back that nat changes.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn restore_nat(context: XdpContext) -> u32 {
    front(&context, |original| original.restore_nat(&context))
}

/// Makes the packet one of the next flow in rotation: takes an outer header
/// away, puts the EtherType, the destination and the hops back, writes a source address
/// and port.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn rotate(context: XdpContext) -> u32 {
    front(&context, |original| {
        original.shrink(&context)?;
        original.restore_kind(&context)?;
        original.restore_destination(&context)?;
        original.restore_hops(&context)?;
        next_flow(&context)
    })
}

/// As [`rotate`], with what nat changes instead of a tunnel's header.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn rotate_nat(context: XdpContext) -> u32 {
    front(&context, |original| {
        original.restore_nat(&context)?;
        original.restore_destination(&context)?;
        next_flow(&context)
    })
}

#[inline(always)]
fn next_flow(context: &XdpContext) -> Option<()> {
    let rotation = maps::ROTATION.get_ptr_mut(0)?;
    // SAFETY: one CPU runs the bench, and user space writes between runs.
    let rotation = unsafe { &mut *rotation };
    let [n, flows] = *rotation;
    rotation[0] = if n + 1 < flows { n + 1 } else { 0 };
    packet::source(context, n)
}

/// Counts what arrives, and ends its way.
#[xdp]
fn sink(_: XdpContext) -> u32 {
    if let Some(arrived) = maps::ARRIVED.get_ptr_mut(0) {
        // SAFETY: this CPU's own counter.
        unsafe { *arrived += 1 };
    }
    xdp_action::XDP_DROP
}

/// The clients of a million flows that are none: 11.0.0.0/8.
const CLIENTS: u8 = 11;

/// Counts the RSTs to and from the clients of such flows, and ends their way: what
/// the other end of a link would do with them costs more than they do.
#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn resets(context: XdpContext) -> u32 {
    count_reset(&context).unwrap_or(xdp_action::XDP_PASS)
}

#[inline(always)]
fn count_reset(context: &XdpContext) -> Option<u32> {
    let (_, ip, tcp) = headers(context)?;
    if tcp.flags() & tcp::RST == 0 {
        return None;
    }
    let of_clients = |address: u32| address.to_ne_bytes()[0] == CLIENTS;
    let direction = match (of_clients(ip.source()), of_clients(ip.destination())) {
        (true, false) => 0,
        (false, true) => 1,
        _ => return None,
    };
    let counter = maps::RESETS.get_ptr_mut(direction)?;
    // SAFETY: this CPU's own counter.
    unsafe { *counter += 1 };
    Some(xdp_action::XDP_DROP)
}

/// Prepares the packet, and goes on to the program under test.
#[inline(always)]
fn front(context: &XdpContext, prepare: impl FnOnce(&Original) -> Option<()>) -> u32 {
    if let Some(original) = maps::ORIGINAL.get(0)
        && prepare(original).is_some()
    {
        // SAFETY: nothing of this program is needed after it.
        unsafe { maps::UNDER_TEST.tail_call(context, 0) };
    }
    xdp_action::XDP_ABORTED
}

#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
