//! The packet of a test run, and how it is made new.
//!
//! What is put back is written field by field, in the widths that the programs
//! under test read: a read that spans two writes would wait for both.

use core::hint::black_box;

use aya_ebpf::{helpers::bpf_xdp_adjust_head, programs::XdpContext};
use lb_common::wire;

/// The packet as user space gave it.
#[repr(C)]
pub(crate) struct Original {
    /// Its first bytes.
    head: [u8; 124],
    /// The length of the frame.
    len: u32,
}

/// The header at `offset` of the packet.
#[inline(always)]
#[expect(
    clippy::mut_from_ref,
    reason = "the packet is no part of the context, and the headers asked for do not overlap"
)]
pub(crate) fn header<T>(context: &XdpContext, offset: usize) -> Option<&mut T> {
    const { assert!(align_of::<T>() == 1, "packets are not aligned") };
    let at = context.data() + offset;
    if at + size_of::<T>() > context.data_end() {
        return None;
    }
    // SAFETY: inside the packet; T is a header, bytes.
    Some(unsafe { &mut *(at as *mut T) })
}

impl Original {
    /// The header at `OFFSET` of the original.
    #[inline(always)]
    fn header<T, const OFFSET: usize>(&self) -> &T {
        const { assert!(OFFSET + size_of::<T>() <= 124 && align_of::<T>() == 1) };
        // SAFETY: inside `head`; T is a header, bytes.
        unsafe { &*self.head.as_ptr().add(OFFSET).cast() }
    }

    /// Takes what was put before the packet away. Asks the kernel even if that
    /// is nothing, so that it costs the same before every program.
    #[inline(always)]
    pub(crate) fn shrink(&self, context: &XdpContext) -> Option<()> {
        // The compiler would subtract in 32 bits, which the verifier does not
        // allow with pointers; so it must not see that half is enough.
        let len = black_box(context.data_end() - context.data());
        let grown = len as i32 - self.len as i32;
        // SAFETY: the program's own context; no pointer into the packet lives.
        (unsafe { bpf_xdp_adjust_head(context.ctx, grown) } == 0).then_some(())
    }

    #[inline(always)]
    pub(crate) fn restore_kind(&self, context: &XdpContext) -> Option<()> {
        let ethernet: &wire::Ethernet = self.header::<_, 0>();
        header::<wire::Ethernet>(context, 0)?.set_kind(ethernet.kind());
        Some(())
    }

    /// Gives back the hop that every forwarded packet spends.
    #[inline(always)]
    pub(crate) fn restore_hops(&self, context: &XdpContext) -> Option<()> {
        let ethernet: &wire::Ethernet = self.header::<_, 0>();
        if ethernet.kind() == wire::ETHERTYPE_IPV6 {
            let original: &wire::Ipv6 = self.header::<_, { wire::ETHERNET_LEN }>();
            header::<wire::Ipv6>(context, wire::ETHERNET_LEN)?.set_hops(original.hops());
        } else {
            let original: &wire::Ipv4 = self.header::<_, { wire::ETHERNET_LEN }>();
            let ip = header::<wire::Ipv4>(context, wire::ETHERNET_LEN)?;
            ip.set_ttl(original.ttl());
            ip.set_checksum(original.checksum());
        }
        Some(())
    }

    /// Addresses the frame to the balancer again: what opens a flow has to be.
    #[inline(always)]
    pub(crate) fn restore_destination(&self, context: &XdpContext) -> Option<()> {
        let original: &wire::Ethernet = self.header::<_, 0>();
        let ethernet = header::<wire::Ethernet>(context, 0)?;
        ethernet.set_destination_high(original.destination_high());
        ethernet.set_destination_low(original.destination_low());
        Some(())
    }

    /// An IPv4 TCP packet without options.
    #[inline(always)]
    pub(crate) fn restore_nat(&self, context: &XdpContext) -> Option<()> {
        const L4: usize = wire::ETHERNET_LEN + wire::IPV4_LEN;
        let original: &wire::Tcp = self.header::<_, L4>();
        let tcp = header::<wire::Tcp>(context, L4)?;
        tcp.set_ports(original.ports());
        tcp.set_checksum(original.checksum());
        let original: &wire::Ipv4 = self.header::<_, { wire::ETHERNET_LEN }>();
        let ip = header::<wire::Ipv4>(context, wire::ETHERNET_LEN)?;
        ip.set_ttl(original.ttl());
        ip.set_checksum(original.checksum());
        ip.set_source(original.source());
        ip.set_destination(original.destination());
        let original: &wire::Ethernet = self.header::<_, 0>();
        let ethernet = header::<wire::Ethernet>(context, 0)?;
        ethernet.set_source_high(original.source_high());
        ethernet.set_source_low(original.source_low());
        Some(())
    }
}

/// Makes an IPv4 TCP packet come from the flow number `n`: 256 ports of each
/// address. The bench fills its tables by the same rule.
#[inline(always)]
pub(crate) fn source(context: &XdpContext, n: u32) -> Option<()> {
    const L4: usize = wire::ETHERNET_LEN + wire::IPV4_LEN;
    let tcp = header::<wire::Tcp>(context, L4)?;
    let to = tcp.ports() & u32::from_ne_bytes([0, 0, 0xFF, 0xFF]);
    let port = 0x8000 | (n & 0xFF) as u16;
    tcp.set_ports(to | port.to_be() as u32);
    let address = 0x0B00_0000 + (n >> 8);
    header::<wire::Ipv4>(context, wire::ETHERNET_LEN)?.set_source(address.to_be());
    Some(())
}
