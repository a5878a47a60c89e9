//! What differs between IPv4 and IPv6 on the packet's way: the maps, and where
//! the header keeps things. Everything else is written once, over [`Family`].

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    btf_maps::{Array, HashMap, LruHashMap, PerCpuArray},
};
use bytemuck::Pod;
use lb_common::{
    abi::{
        address::{Addr4, Addr6, Address},
        counter::Verdict,
        flow::{Flow, FlowKey},
        fragment::{FragmentKey, FragmentPorts},
        half_open::Bucket,
    },
    checksum, limits, wire,
};

use crate::{
    cursor::Cursor,
    half_open,
    maps::{self, Listeners, Vips},
    parse::{Datagram, Fragment},
    scratch::Room,
};

pub(crate) type FlowTable<A> = HashMap<FlowKey<A>, Flow<A>, { limits::FLOWS as usize }>;
pub(crate) type HalfOpenTable<A> =
    Array<Bucket<A>, { half_open::BUCKETS as usize }, { BPF_F_MMAPABLE as usize }>;

/// An IP header, as far as both families have the same in it.
pub(crate) trait IpHeader: Pod {
    type Address;
    fn from(&self) -> Self::Address;
    fn to(&self) -> Self::Address;
    /// TCP, UDP, … or the first extension header.
    fn payload_protocol(&self) -> u8;
    /// The length of the datagram with its header.
    fn datagram_len(&self) -> usize;
    /// A header without options, not a fragment: what the fast way takes.
    fn is_plain(&self) -> bool;
    /// The header with all that may follow it before the payload: options, or
    /// extension headers.
    fn walk(
        &self,
        cursor: &Cursor,
        l3: u8,
        datagram: &mut Datagram<Self::Address>,
    ) -> Result<(), Verdict>;
    /// Time to live, or hop limit.
    fn hops_left(&self) -> u8;
    /// Writes new addresses and the hops left; the header's checksum follows.
    /// Returns the difference that a checksum over the pseudo-header needs.
    fn readdress(&mut self, source: Self::Address, destination: Self::Address, hops: u8) -> u64;
    /// Whether the header has a checksum of its own.
    const HAS_CHECKSUM: bool;
}

impl IpHeader for wire::Ipv4 {
    type Address = Addr4;

    #[inline(always)]
    fn from(&self) -> Addr4 {
        Addr4(self.source())
    }
    #[inline(always)]
    fn to(&self) -> Addr4 {
        Addr4(self.destination())
    }
    #[inline(always)]
    fn payload_protocol(&self) -> u8 {
        self.protocol()
    }
    #[inline(always)]
    fn datagram_len(&self) -> usize {
        u16::from_be(self.total_len()) as usize
    }
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_ihl() == 0x45 && self.fragment() & (wire::IPV4_MF | wire::IPV4_OFFSET) == 0
    }
    #[inline(always)]
    fn walk(&self, _: &Cursor, l3: u8, datagram: &mut Datagram<Addr4>) -> Result<(), Verdict> {
        let header_len = (self.version_ihl() & 0x0F) * 4;
        if self.version_ihl() >> 4 != 4 || header_len < wire::IPV4_LEN as u8 {
            return Err(Verdict::Malformed);
        }
        *datagram = Datagram {
            l3,
            l4: l3 + header_len,
            protocol: self.protocol(),
            fragment: if self.fragment() & wire::IPV4_OFFSET != 0 {
                Fragment::Later
            } else if self.fragment() & wire::IPV4_MF != 0 {
                Fragment::First
            } else {
                Fragment::Whole
            },
            id: self.id() as u32,
            len: self.datagram_len() as u32,
            source: Addr4(self.source()),
            destination: Addr4(self.destination()),
        };
        Ok(())
    }
    #[inline(always)]
    fn hops_left(&self) -> u8 {
        self.ttl()
    }
    #[inline(always)]
    fn readdress(&mut self, source: Addr4, destination: Addr4, hops: u8) -> u64 {
        let old = self.source() as u64 + self.destination() as u64;
        let difference = checksum::difference(old, source.sum() + destination.sum(), 2);
        // The hops share their word with the protocol, which stays.
        let (before, after) = ([self.ttl(), 0], [hops, 0]);
        let hop = checksum::difference(
            u16::from_ne_bytes(before) as u64,
            u16::from_ne_bytes(after) as u64,
            1,
        );
        self.set_checksum(checksum::updated(self.checksum(), difference + hop));
        self.set_ttl(hops);
        self.set_source(source.0);
        self.set_destination(destination.0);
        difference
    }
    const HAS_CHECKSUM: bool = true;
}

impl IpHeader for wire::Ipv6 {
    type Address = Addr6;

    #[inline(always)]
    fn from(&self) -> Addr6 {
        Addr6(self.source())
    }
    #[inline(always)]
    fn to(&self) -> Addr6 {
        Addr6(self.destination())
    }
    #[inline(always)]
    fn payload_protocol(&self) -> u8 {
        self.next()
    }
    #[inline(always)]
    fn datagram_len(&self) -> usize {
        u16::from_be(self.payload_len()) as usize + wire::IPV6_LEN
    }
    #[inline(always)]
    fn is_plain(&self) -> bool {
        self.version_class_label() & 0xF000_0000_u32.to_be() == 0x6000_0000_u32.to_be()
    }
    #[inline(always)]
    fn walk(&self, cursor: &Cursor, l3: u8, datagram: &mut Datagram<Addr6>) -> Result<(), Verdict> {
        if !self.is_plain() {
            return Err(Verdict::Malformed);
        }
        *datagram = Datagram {
            l3,
            l4: 0,
            protocol: 0,
            fragment: Fragment::Whole,
            id: 0,
            len: self.datagram_len() as u32,
            source: Addr6(self.source()),
            destination: Addr6(self.destination()),
        };
        let mut at = l3 + wire::IPV6_LEN as u8;
        let mut protocol = self.next();
        for _ in 0..wire::MAX_EXTENSIONS {
            match protocol {
                wire::HOP_BY_HOP | wire::ROUTING | wire::DESTINATION_OPTIONS => {
                    // The next header, and the length in units of 8 bytes
                    // beyond the first 8 (RFC 8200, section 4.3).
                    let [next, len]: &[u8; 2] = cursor.read(at as usize)?;
                    protocol = *next;
                    at = deeper(at as usize + 8 + *len as usize * 8)?;
                }
                wire::FRAGMENT => {
                    let header: &wire::FragmentHeader = cursor.read(at as usize)?;
                    let offset = u16::from_be(header.offset());
                    datagram.id = header.id();
                    protocol = header.next();
                    at = deeper(at as usize + 8)?;
                    // Both zero is a whole datagram all the same (RFC 6946).
                    if offset >> 3 != 0 {
                        datagram.fragment = Fragment::Later;
                        break;
                    }
                    if offset & 1 != 0 {
                        datagram.fragment = Fragment::First;
                    }
                }
                _ => break,
            }
        }
        datagram.l4 = at;
        datagram.protocol = protocol;
        Ok(())
    }
    #[inline(always)]
    fn hops_left(&self) -> u8 {
        self.hops()
    }
    #[inline(always)]
    fn readdress(&mut self, source: Addr6, destination: Addr6, hops: u8) -> u64 {
        self.set_hops(hops);
        self.set_addresses(source.0, destination.0)
    }
    const HAS_CHECKSUM: bool = false;
}

/// How deep in the frame the header of layer 4 may lie.
const DEEPEST: usize = 192;

#[inline(always)]
fn deeper(offset: usize) -> Result<u8, Verdict> {
    if offset > DEEPEST {
        return Err(Verdict::Malformed);
    }
    Ok(offset as u8)
}

/// An address family with its maps.
pub(crate) trait Family: Address {
    type Header: IpHeader<Address = Self>;
    /// Writes a whole IP header of ours at `l3`, before `len` bytes of payload.
    fn begin(
        cursor: &mut Cursor,
        l3: usize,
        protocol: u8,
        len: u16,
        source: Self,
        destination: Self,
    ) -> Result<(), Verdict>;
    fn flows() -> &'static FlowTable<Self>;
    fn half_open() -> &'static HalfOpenTable<Self>;
    /// See [`half_open`]: one more than the entry's number, or 0.
    fn find_half_open(key: &FlowKey<Self>, now: u32) -> u32;
    /// See [`half_open`]: 0 if it was not there.
    fn remove_half_open(key: &FlowKey<Self>, now: u32) -> u32;
    /// See [`half_open`]: 0 if it was not put.
    fn put_half_open(key: &FlowKey<Self>, entry: &Flow<Self>, now: u32, only_new: u32) -> u32;
    fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FragmentPorts, 16_384>;
    fn vips() -> &'static Vips<Self>;
    fn listeners() -> &'static Listeners<Self>;
    fn nat_pool() -> &'static Array<Self, 256>;
    fn room() -> &'static PerCpuArray<Room<Self>, 1>;
}

macro_rules! family {
    ($address:ty, $header:ty, $shift:expr, $flows:ident, $half:ident, $find:ident, $put:ident,
     $remove:ident, $fragments:ident, $vips:ident, $listeners:ident, $pool:ident,
     $room:ident) => {
        impl Family for $address {
            type Header = $header;
            #[inline(always)]
            fn begin(
                cursor: &mut Cursor,
                l3: usize,
                protocol: u8,
                len: u16,
                source: Self,
                destination: Self,
            ) -> Result<(), Verdict> {
                let len = len + $shift;
                cursor
                    .header::<$header>(l3)?
                    .begin(len, protocol, source.0, destination.0);
                Ok(())
            }
            #[inline(always)]
            fn flows() -> &'static FlowTable<Self> {
                &maps::$flows
            }
            #[inline(always)]
            fn half_open() -> &'static HalfOpenTable<Self> {
                &maps::$half
            }
            #[inline(always)]
            fn find_half_open(key: &FlowKey<Self>, now: u32) -> u32 {
                half_open::$find(key, now)
            }
            #[inline(always)]
            fn remove_half_open(key: &FlowKey<Self>, now: u32) -> u32 {
                half_open::$remove(key, now)
            }
            #[inline(always)]
            fn put_half_open(
                key: &FlowKey<Self>,
                entry: &Flow<Self>,
                now: u32,
                only_new: u32,
            ) -> u32 {
                half_open::$put(key, entry, now, only_new)
            }
            #[inline(always)]
            fn fragments() -> &'static LruHashMap<FragmentKey<Self>, FragmentPorts, 16_384> {
                &maps::$fragments
            }
            #[inline(always)]
            fn vips() -> &'static Vips<Self> {
                &maps::$vips
            }
            #[inline(always)]
            fn listeners() -> &'static Listeners<Self> {
                &maps::$listeners
            }
            #[inline(always)]
            fn nat_pool() -> &'static Array<Self, 256> {
                &maps::$pool
            }
            #[inline(always)]
            fn room() -> &'static PerCpuArray<Room<Self>, 1> {
                &maps::$room
            }
        }
    };
}

family!(
    Addr4,
    wire::Ipv4,
    wire::IPV4_LEN as u16,
    FLOWS_V4,
    HALF_V4,
    find_half_open_v4,
    put_half_open_v4,
    remove_half_open_v4,
    FRAGMENTS_V4,
    VIPS_V4,
    LISTENERS_V4,
    NAT_POOL_V4,
    ROOM_V4
);
family!(
    Addr6,
    wire::Ipv6,
    0,
    FLOWS_V6,
    HALF_V6,
    find_half_open_v6,
    put_half_open_v6,
    remove_half_open_v6,
    FRAGMENTS_V6,
    VIPS_V6,
    LISTENERS_V6,
    NAT_POOL_V6,
    ROOM_V6
);
