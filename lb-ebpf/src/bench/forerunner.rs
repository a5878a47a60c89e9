//! What a load balancer of the first generation does for a packet: something to measure
//! ebb against that does a balancer's work on the same machine. docs/performance.md says
//! where it is taken from.
//!
//! It reads the headers, looks its VIP up, then the flow in an LRU hash, a new one in the
//! VIP's ring, the backend behind the number that it got, and counts the packet for the VIP,
//! for the table and for the backend. It goes to the next router, in a tunnel if the backend
//! is reached by one.

use aya_ebpf::{
    bindings::xdp_action, btf_maps::PerCpuArray, helpers::bpf_xdp_adjust_head, macros::xdp,
    programs::XdpContext,
};
use lb_common::{hash, tcp, wire};

use crate::{
    maps::{self, Key, RING, Real, Stats, Vip},
    packet::header,
};

#[xdp]
#[expect(clippy::needless_pass_by_value, reason = "the macro calls it so")]
fn forerunner(context: XdpContext) -> u32 {
    forward(&context).unwrap_or(xdp_action::XDP_PASS)
}

/// `None` for what is for no VIP.
#[inline(always)]
fn forward(context: &XdpContext) -> Option<u32> {
    let v6 = match header::<wire::Ethernet>(context, 0)?.kind() {
        wire::ETHERTYPE_IPV4 => false,
        wire::ETHERTYPE_IPV6 => true,
        _ => return None,
    };
    let (mut key, len, l4) = if v6 {
        read_v6(context)
    } else {
        read_v4(context)
    }?;
    let mut is_new = false;
    key.ports = match key.protocol as u8 {
        wire::TCP => {
            let tcp = header::<wire::Tcp>(context, l4)?;
            is_new = tcp.flags() & tcp::SYN != 0;
            tcp.ports()
        }
        wire::UDP => header::<wire::Udp>(context, l4)?.ports(),
        _ => return None,
    };
    let vip = Vip {
        address: key.destination,
        port: key.ports >> 16,
        protocol: key.protocol,
    };
    // SAFETY: copied at once, and nobody writes it while the bench runs.
    let vip = *unsafe { maps::FORERUNNER_VIPS.get(vip) }?;
    let known = if is_new {
        None
    } else {
        // SAFETY: as above.
        unsafe { maps::FORERUNNER_FLOWS.get(key) }.copied()
    };
    let real = match known {
        Some(real) => real as u32,
        None => open(&key, vip)?,
    };
    count(&maps::FORERUNNER_VIP_STATS, vip, len)?;
    count(&maps::FORERUNNER_TABLE_STATS, 0, len)?;
    count(&maps::FORERUNNER_REAL_STATS, real, len)?;
    let real = maps::FORERUNNER_REALS.get(real)?;
    if real.tunnel != 0 {
        wrap(context, real, len as u16, v6)?;
    }
    let macs = maps::FORERUNNER_MACS.get(0)?;
    let ethernet = header::<wire::Ethernet>(context, 0)?;
    ethernet.set_mac_words(*macs);
    ethernet.set_kind(if v6 {
        wire::ETHERTYPE_IPV6
    } else {
        wire::ETHERTYPE_IPV4
    });
    Some(xdp_action::XDP_TX)
}

/// The flow without its ports, the datagram's length, and where layer 4 begins.
#[inline(always)]
fn read_v4(context: &XdpContext) -> Option<(Key, u64, usize)> {
    let ip = header::<wire::Ipv4>(context, wire::ETHERNET_LEN)?;
    if ip.version_ihl() != 0x45 || ip.fragment() & !wire::IPV4_DF != 0 {
        return None;
    }
    let key = Key {
        source: [ip.source(), 0, 0, 0],
        destination: [ip.destination(), 0, 0, 0],
        ports: 0,
        protocol: ip.protocol() as u32,
    };
    let len = u16::from_be(ip.total_len()) as u64;
    Some((key, len, wire::ETHERNET_LEN + wire::IPV4_LEN))
}

#[inline(always)]
fn read_v6(context: &XdpContext) -> Option<(Key, u64, usize)> {
    let ip = header::<wire::Ipv6>(context, wire::ETHERNET_LEN)?;
    let key = Key {
        source: ip.source(),
        destination: ip.destination(),
        ports: 0,
        protocol: ip.next() as u32,
    };
    let len = u16::from_be(ip.payload_len()) as u64 + wire::IPV6_LEN as u64;
    Some((key, len, wire::ETHERNET_LEN + wire::IPV6_LEN))
}

/// A new flow's backend, by the ring.
#[inline(always)]
fn open(key: &Key, vip: u32) -> Option<u32> {
    let mut hash = 1;
    for word in key.source {
        hash = hash::mix(hash, word);
    }
    hash = hash::finish(hash::mix(hash, key.ports));
    let real = *maps::FORERUNNER_RINGS.get(vip * RING + hash % RING)?;
    maps::FORERUNNER_FLOWS.insert(key, real as u64, 0).ok()?;
    Some(real)
}

#[inline(always)]
fn count<const N: usize>(counters: &PerCpuArray<Stats, N>, index: u32, len: u64) -> Option<()> {
    let stats = counters.get_ptr_mut(index)?;
    // SAFETY: this CPU's own counters.
    let stats = unsafe { &mut *stats };
    stats.packets += 1;
    stats.bytes += len;
    Some(())
}

/// Puts an outer header of the same family before the packet of `len` bytes.
#[inline(always)]
fn wrap(context: &XdpContext, real: &Real, len: u16, v6: bool) -> Option<()> {
    let room = if v6 { wire::IPV6_LEN } else { wire::IPV4_LEN };
    // SAFETY: the program's own context; no pointer into the packet lives.
    if unsafe { bpf_xdp_adjust_head(context.ctx, -(room as i32)) } != 0 {
        return None;
    }
    if v6 {
        let outer = header::<wire::Ipv6>(context, wire::ETHERNET_LEN)?;
        outer.begin(0, len, wire::IPV6_IN, real.source, real.address);
    } else {
        let outer = header::<wire::Ipv4>(context, wire::ETHERNET_LEN)?;
        let len = len + wire::IPV4_LEN as u16;
        outer.begin(0, len, wire::IPIP, real.source[0], real.address[0]);
    }
    Some(())
}
