//! What the headers of IP say, in both address families: everything above them is
//! written once, over [`Ip`].

use bytemuck::Pod;
use lb_common::{
    abi::{
        address::{Addr4, Addr6, Address},
        counter::Verdict,
    },
    checksum, wire,
};

use crate::{cursor::Cursor, hook::Hook};

/// An address family with its header.
pub trait Ip: Address {
    type Header: IpHeader<Address = Self>;
}

impl Ip for Addr4 {
    type Header = wire::Ipv4;
}

impl Ip for Addr6 {
    type Header = wire::Ipv6;
}

/// A datagram of any shape, with the headers before its payload read.
#[derive(Clone, Copy, Default)]
pub struct Datagram<A> {
    pub l3: u8,
    pub l4: u8,
    pub protocol: u8,
    pub fragment: Fragment,
    /// The identification that its fragments share.
    pub id: u32,
    pub len: u32,
    pub source: A,
    pub destination: A,
}

/// Which fragment it is of its datagram.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    #[default]
    Whole,
    First,
    Later,
}

/// Where the IP header begins, behind at most two VLAN tags, and its EtherType.
#[inline(always)]
pub fn link<H: Hook>(cursor: &Cursor<H>) -> Result<(u8, u16), Verdict> {
    let mut kind = cursor.read::<wire::Ethernet>(0)?.kind();
    let mut l3 = wire::ETHERNET_LEN as u8;
    for _ in 0..wire::MAX_TAGS {
        if kind != wire::ETHERTYPE_VLAN && kind != wire::ETHERTYPE_QINQ {
            break;
        }
        kind = cursor.read::<wire::Vlan>(l3 as usize)?.kind();
        l3 += wire::VLAN_LEN as u8;
    }
    Ok((l3, kind))
}

/// An IP header, as far as both families have the same in it.
pub trait IpHeader: Pod {
    type Address;
    fn from(&self) -> Self::Address;
    fn to(&self) -> Self::Address;
    /// TCP, UDP, … or the first extension header.
    fn payload_protocol(&self) -> u8;
    /// The length of the datagram with its header.
    fn datagram_len(&self) -> usize;
    /// A header without options, not a fragment: what the hit path takes.
    fn is_plain(&self) -> bool;
    /// The header with all that may follow it before the payload: options, or
    /// extension headers.
    fn walk<H: Hook>(
        &self,
        cursor: &Cursor<H>,
        l3: u8,
        datagram: &mut Datagram<Self::Address>,
    ) -> Result<(), Verdict>;
    /// Time to live, or hop limit.
    fn hops_left(&self) -> u8;
    /// The traffic class: DSCP and ECN.
    fn class(&self) -> u8;
    /// Writes another one; the header's checksum follows.
    fn set_class(&mut self, class: u8);
    /// Writes a whole header of ours, before `len` bytes of payload.
    fn write(&mut self, protocol: u8, len: u16, source: Self::Address, destination: Self::Address);
    /// Writes new addresses and the hops left; the header's checksum follows.
    /// Returns the difference that a checksum over the pseudo-header needs.
    fn readdress(&mut self, source: Self::Address, destination: Self::Address, hops: u8) -> u64;
    /// Takes one hop of those that are left, of which there is one; the header's checksum
    /// follows.
    fn spend_hop(&mut self);
    /// Lets routers fragment the datagram, with this identification if it needs one. In
    /// IPv6 they never do.
    fn allow_fragments(&mut self, id: u16);
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
    fn walk<H: Hook>(
        &self,
        _: &Cursor<H>,
        l3: u8,
        datagram: &mut Datagram<Addr4>,
    ) -> Result<(), Verdict> {
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
    fn write(&mut self, protocol: u8, len: u16, source: Addr4, destination: Addr4) {
        let total = len + wire::IPV4_LEN as u16;
        self.begin(0, total, protocol, source.0, destination.0);
    }
    #[inline(always)]
    fn class(&self) -> u8 {
        self.tos()
    }
    #[inline(always)]
    fn set_class(&mut self, class: u8) {
        wire::Ipv4::set_class(self, class);
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
    #[inline(always)]
    fn spend_hop(&mut self) {
        wire::Ipv4::spend_hop(self);
    }
    #[inline(always)]
    fn allow_fragments(&mut self, id: u16) {
        wire::Ipv4::allow_fragments(self, id);
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
    fn walk<H: Hook>(
        &self,
        cursor: &Cursor<H>,
        l3: u8,
        datagram: &mut Datagram<Addr6>,
    ) -> Result<(), Verdict> {
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
        let is_extension = matches!(
            protocol,
            wire::HOP_BY_HOP | wire::ROUTING | wire::DESTINATION_OPTIONS | wire::FRAGMENT
        );
        if is_extension && datagram.fragment != Fragment::Later {
            return Err(Verdict::Malformed);
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
    fn write(&mut self, protocol: u8, len: u16, source: Addr6, destination: Addr6) {
        self.begin(0, len, protocol, source.0, destination.0);
    }
    #[inline(always)]
    fn class(&self) -> u8 {
        wire::Ipv6::class(self)
    }
    #[inline(always)]
    fn set_class(&mut self, class: u8) {
        wire::Ipv6::set_class(self, class);
    }
    #[inline(always)]
    fn readdress(&mut self, source: Addr6, destination: Addr6, hops: u8) -> u64 {
        self.set_hops(hops);
        self.set_addresses(source.0, destination.0)
    }
    #[inline(always)]
    fn spend_hop(&mut self) {
        self.set_hops(self.hops() - 1);
    }
    #[inline(always)]
    fn allow_fragments(&mut self, _: u16) {}
    const HAS_CHECKSUM: bool = false;
}

#[inline(always)]
fn deeper(offset: usize) -> Result<u8, Verdict> {
    if offset > wire::DEEPEST {
        return Err(Verdict::Malformed);
    }
    Ok(offset as u8)
}
