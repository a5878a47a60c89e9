//! The two address families, as one trait: what is generic over it is written
//! once and compiled twice.

use core::{
    fmt::Debug,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::plain::plain;

/// An IPv4 address as it lies in a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Addr4(pub u32);

/// An IPv6 address as it lies in a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct Addr6(pub [u32; 4]);

plain!(Addr4, Addr6);

/// An address of either family.
pub trait Address: Copy + Eq + Debug + Default + bytemuck::Pod {
    /// What brings [`super::flow::Flow`] to 64 bytes. With a key of 16 and the
    /// kernel's own 48 an IPv4 entry is then two cache lines, and its value,
    /// which every packet writes, exactly one.
    type FlowPad: Copy + Eq + Debug + Default + bytemuck::Pod;

    /// True for IPv6.
    const V6: bool;
    /// The length of an IP header without options or extension headers.
    const HEADER_LEN: usize;

    /// The address as four words; IPv4 in the first, the others zero.
    fn words(self) -> [u32; 4];
    /// The inverse of [`Self::words`].
    fn from_words(words: [u32; 4]) -> Self;
    /// The ones' complement sum over the address, not folded.
    fn sum(self) -> u64;
    /// Mixed to one word, for hashing.
    fn mix(self) -> u32;
    /// False for what no host on a network has: unspecified, loopback, multicast,
    /// broadcast, reserved (RFC 1122, section 3.2.1.3; RFC 4291, section 2.4; an IPv4
    /// address in IPv6, RFC 4038, section 4.2).
    fn is_of_a_host(self) -> bool;
}

impl Address for Addr4 {
    type FlowPad = [u32; 3];
    const V6: bool = false;
    const HEADER_LEN: usize = 20;

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        [self.0, 0, 0, 0]
    }
    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words[0])
    }
    #[inline(always)]
    fn sum(self) -> u64 {
        self.0 as u64
    }
    #[inline(always)]
    fn mix(self) -> u32 {
        self.0
    }
    #[inline(always)]
    fn is_of_a_host(self) -> bool {
        let [first, ..] = self.0.to_ne_bytes();
        first != 0 && first != 127 && first < 224
    }
}

impl Address for Addr6 {
    type FlowPad = [u32; 0];
    const V6: bool = true;
    const HEADER_LEN: usize = 40;

    #[inline(always)]
    fn words(self) -> [u32; 4] {
        self.0
    }
    #[inline(always)]
    fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }
    #[inline(always)]
    fn sum(self) -> u64 {
        let [a, b, c, d] = self.0;
        a as u64 + b as u64 + c as u64 + d as u64
    }
    #[inline(always)]
    fn mix(self) -> u32 {
        let [a, b, c, d] = self.0;
        a ^ b.rotate_left(7) ^ c.rotate_left(15) ^ d.rotate_left(23)
    }
    #[inline(always)]
    fn is_of_a_host(self) -> bool {
        let [a, b, c, d] = self.0;
        let [first, ..] = a.to_ne_bytes();
        let is_low = a == 0 && b == 0 && c == 0 && u32::from_be(d) <= 1;
        let is_mapped = a == 0 && b == 0 && c == 0xFFFF_u32.to_be();
        first != 0xFF && !is_low && !is_mapped
    }
}

impl From<Ipv4Addr> for Addr4 {
    fn from(a: Ipv4Addr) -> Self {
        Self(u32::from_ne_bytes(a.octets()))
    }
}
impl From<Addr4> for Ipv4Addr {
    fn from(a: Addr4) -> Self {
        a.0.to_ne_bytes().into()
    }
}
impl From<Ipv6Addr> for Addr6 {
    fn from(a: Ipv6Addr) -> Self {
        Self(bytemuck::cast(a.octets()))
    }
}
impl From<Addr6> for Ipv6Addr {
    fn from(a: Addr6) -> Self {
        bytemuck::cast::<_, [u8; 16]>(a.0).into()
    }
}
impl From<Addr4> for IpAddr {
    fn from(a: Addr4) -> Self {
        Self::V4(a.into())
    }
}
impl From<Addr6> for IpAddr {
    fn from(a: Addr6) -> Self {
        Self::V6(a.into())
    }
}

/// An address of either family in four words, as [`Address::words`] has it.
#[must_use]
pub fn words_of(address: IpAddr) -> [u32; 4] {
    match address {
        IpAddr::V4(a) => Addr4::from(a).words(),
        IpAddr::V6(a) => Addr6::from(a).words(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_sends_from_an_address_that_no_host_has() {
        let v4 = |text: &str| Addr4::from(text.parse::<Ipv4Addr>().unwrap()).is_of_a_host();
        let v6 = |text: &str| Addr6::from(text.parse::<Ipv6Addr>().unwrap()).is_of_a_host();
        for martian in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "255.255.255.255",
        ] {
            assert!(!v4(martian), "{martian}");
        }
        for martian in ["::", "::1", "ff02::1", "::ffff:10.0.0.1"] {
            assert!(!v6(martian), "{martian}");
        }
        assert!(
            ["10.0.0.1", "1.0.0.1", "223.255.255.255", "126.0.0.1"]
                .into_iter()
                .all(v4)
        );
        assert!(
            ["fd00::1", "::2", "fe80::1", "2001:db8::1"]
                .into_iter()
                .all(v6)
        );
    }
}
