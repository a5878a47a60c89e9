//! Numbers and headers of the protocols on the wire, each with its source.

use bytemuck::{Pod, Zeroable};

use crate::{checksum, unaligned};

/// Ethernet: two MAC addresses and a type (IEEE 802.3).
pub const ETHERNET_LEN: usize = 14;
/// A VLAN tag (IEEE 802.1Q).
pub const VLAN_LEN: usize = 4;
/// How many tags are read before a packet is left to the host.
pub const MAX_TAGS: usize = 2;

/// EtherTypes as they are read from a packet on this host (IEEE registry).
pub const ETHERTYPE_IPV4: u16 = 0x0800_u16.to_be();
pub const ETHERTYPE_IPV6: u16 = 0x86DD_u16.to_be();
pub const ETHERTYPE_VLAN: u16 = 0x8100_u16.to_be();
pub const ETHERTYPE_QINQ: u16 = 0x88A8_u16.to_be();

/// IP protocol numbers (IANA).
pub const ICMP: u8 = 1;
pub const IPIP: u8 = 4;
pub const TCP: u8 = 6;
pub const UDP: u8 = 17;
pub const IPV6_IN: u8 = 41;
pub const ICMPV6: u8 = 58;

/// IPv6 extension headers (RFC 8200) that may stand before the payload.
pub const HOP_BY_HOP: u8 = 0;
pub const ROUTING: u8 = 43;
pub const FRAGMENT: u8 = 44;
pub const DESTINATION_OPTIONS: u8 = 60;
/// How many extension headers are read before a packet is left to the host.
pub const MAX_EXTENSIONS: usize = 4;

/// An IPv4 header without options (RFC 791).
pub const IPV4_LEN: usize = 20;
/// An IPv6 header (RFC 8200).
pub const IPV6_LEN: usize = 40;
/// The least MTU of a link that carries IPv6 (RFC 8200, section 5).
pub const IPV6_LEAST_MTU: u32 = 1280;
/// Don't fragment, more fragments, and the offset (RFC 791), as read.
pub const IPV4_DF: u16 = 0x4000_u16.to_be();
pub const IPV4_MF: u16 = 0x2000_u16.to_be();
pub const IPV4_OFFSET: u16 = 0x1FFF_u16.to_be();

/// What a traffic class says of congestion (ECN), in its lowest two bits (RFC 3168,
/// section 5): the transport knows nothing of it, knows it (in two forms), or the packet
/// has met congestion.
pub const ECN: u8 = 0b11;
pub const ECN_NOT_ECT: u8 = 0b00;
pub const ECN_ECT_1: u8 = 0b01;
pub const ECN_ECT_0: u8 = 0b10;
pub const ECN_CE: u8 = 0b11;

/// The hops that a header of ours starts with (RFC 1700's default TTL).
pub const HOPS: u8 = 64;

/// A TCP header without options (RFC 9293).
pub const TCP_LEN: usize = 20;
/// With all the options that it can have.
pub const MOST_TCP_LEN: usize = 60;
/// How deep in the frame the header of layer 4 may lie.
pub const DEEPEST: usize = 192;
/// All that is read of any packet lies before this.
pub const HEADERS: usize = DEEPEST + MOST_TCP_LEN;
/// A UDP header (RFC 768).
pub const UDP_LEN: usize = 8;
/// The part of an ICMP header that all messages have (RFC 792, RFC 4443).
pub const ICMP_LEN: usize = 8;

/// ICMP types (RFC 792).
pub const ICMP_ECHO_REPLY: u8 = 0;
pub const ICMP_UNREACHABLE: u8 = 3;
pub const ICMP_ECHO: u8 = 8;
pub const ICMP_TIME_EXCEEDED: u8 = 11;
pub const ICMP_PARAMETER_PROBLEM: u8 = 12;
pub const ICMP_CODE_PORT: u8 = 3;
pub const ICMP_CODE_FRAGMENTATION_NEEDED: u8 = 4;
pub const ICMP_CODE_IN_TRANSIT: u8 = 0;

/// ICMPv6 types (RFC 4443).
pub const ICMPV6_UNREACHABLE: u8 = 1;
pub const ICMPV6_TOO_BIG: u8 = 2;
pub const ICMPV6_TIME_EXCEEDED: u8 = 3;
pub const ICMPV6_PARAMETER_PROBLEM: u8 = 4;
pub const ICMPV6_ECHO: u8 = 128;
pub const ICMPV6_ECHO_REPLY: u8 = 129;
pub const ICMPV6_CODE_PORT: u8 = 4;
pub const ICMPV6_CODE_IN_TRANSIT: u8 = 0;

/// How much of a datagram an ICMP error has at least, beyond its headers
/// (RFC 792).
pub const ICMP_EMBEDDED_LEN: usize = 8;

/// A header as it lies in a packet: bytes, with an accessor for each field.
/// Fields of more than a byte are as on the wire; where they lie is not aligned.
macro_rules! header {
    (
        $(#[$doc:meta])*
        $name:ident($len:expr) {
            $($(#[$field_doc:meta])* $offset:literal $field:ident $set:ident: $kind:ident,)*
        }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Zeroable, Pod)]
        #[repr(transparent)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            $(
                $(#[$field_doc])*
                #[inline(always)]
                #[must_use]
                pub fn $field(&self) -> $kind {
                    // A field beyond the end underflows, which does not compile.
                    const _: usize = $len - $offset - size_of::<$kind>();
                    unaligned::$kind::load::<$offset>(&self.0)
                }

                #[inline(always)]
                pub fn $set(&mut self, value: $kind) {
                    unaligned::$kind::store::<$offset>(&mut self.0, value);
                }
            )*
        }
    };
}

header! {
    /// An Ethernet header.
    Ethernet(ETHERNET_LEN) {
        0 destination_high set_destination_high: u32,
        4 destination_low set_destination_low: u16,
        6 source_high set_source_high: u32,
        10 source_low set_source_low: u16,
        /// The twelve bytes of both addresses, by word.
        0 macs_0 set_macs_0: u32,
        4 macs_1 set_macs_1: u32,
        8 macs_2 set_macs_2: u32,
        12 kind set_kind: u16,
    }
}

/// A MAC address as the map layouts have it.
pub type Mac = [u16; 3];

impl Ethernet {
    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> Mac {
        split(self.source_high(), self.source_low())
    }

    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> Mac {
        split(self.destination_high(), self.destination_low())
    }

    /// Whether it claims to come from a group of hosts, as none does (IEEE 802.3,
    /// section 3.2.3).
    #[inline(always)]
    #[must_use]
    pub fn is_from_a_group(&self) -> bool {
        self.0[6] & 1 != 0
    }

    /// Writes destination and source.
    #[inline(always)]
    pub fn set_macs(&mut self, destination: Mac, source: Mac) {
        self.set_destination_high(join(destination));
        self.set_destination_low(destination[2]);
        self.set_source_high(join(source));
        self.set_source_low(source[2]);
    }

    /// Writes destination and source as [`crate::abi::backend::Backend::macs`]
    /// has them.
    #[inline(always)]
    pub fn set_mac_words(&mut self, [a, b, c]: [u32; 3]) {
        self.set_macs_0(a);
        self.set_macs_1(b);
        self.set_macs_2(c);
    }

    /// Makes it the header of the way back.
    #[inline(always)]
    pub fn turn(&mut self) {
        let (high, low) = (self.destination_high(), self.destination_low());
        self.set_destination_high(self.source_high());
        self.set_destination_low(self.source_low());
        self.set_source_high(high);
        self.set_source_low(low);
    }
}

#[inline(always)]
fn split(high: u32, low: u16) -> Mac {
    let [a, b, c, d] = high.to_ne_bytes();
    [u16::from_ne_bytes([a, b]), u16::from_ne_bytes([c, d]), low]
}

#[inline(always)]
fn join(mac: Mac) -> u32 {
    let ([a, b], [c, d]) = (mac[0].to_ne_bytes(), mac[1].to_ne_bytes());
    u32::from_ne_bytes([a, b, c, d])
}

header! {
    /// A VLAN tag and the type that follows it.
    Vlan(VLAN_LEN) {
        0 tag set_tag: u16,
        2 kind set_kind: u16,
    }
}

header! {
    /// An IPv4 header without its options.
    Ipv4(IPV4_LEN) {
        0 version_ihl set_version_ihl: u8,
        1 tos set_tos: u8,
        2 total_len set_total_len: u16,
        4 id set_id: u16,
        6 fragment set_fragment: u16,
        8 ttl set_ttl: u8,
        9 protocol set_protocol: u8,
        10 checksum set_checksum: u16,
        12 source set_source: u32,
        16 destination set_destination: u32,
    }
}

impl Ipv4 {
    /// Makes it the header of a fragment of `total_len` bytes, with these flags and this
    /// offset, both in the host's order; the checksum follows.
    #[inline(always)]
    pub fn set_piece(&mut self, total_len: u16, fragment: u16) {
        let word = |len: u16, fragment: u16| len as u64 + fragment as u64;
        let (len, fragment) = (total_len.to_be(), fragment.to_be());
        let old = word(self.total_len(), self.fragment());
        let difference = checksum::difference(old, word(len, fragment), 2);
        self.set_checksum(checksum::updated(self.checksum(), difference));
        self.set_total_len(len);
        self.set_fragment(fragment);
    }

    /// Lets routers fragment the datagram, which then needs an identification: `id`, if it
    /// has none.
    #[inline(always)]
    pub fn allow_fragments(&mut self, id: u16) {
        if self.fragment() & IPV4_DF == 0 {
            return;
        }
        let word = |id: u16, fragment: u16| id as u64 + fragment as u64;
        let (old_id, old) = (self.id(), self.fragment());
        let new_id = if old_id == 0 { id } else { old_id };
        let difference = checksum::difference(word(old_id, old), word(new_id, old & !IPV4_DF), 2);
        self.set_checksum(checksum::updated(self.checksum(), difference));
        self.set_id(new_id);
        self.set_fragment(old & !IPV4_DF);
    }

    /// Takes a hop from a header that has one left; the checksum follows, as RFC 1624 has
    /// it for one less in a known place.
    #[inline(always)]
    pub fn spend_hop(&mut self) {
        const HOP: u32 = u16::from_ne_bytes([1, 0]) as u32;
        let sum = self.checksum() as u32 + HOP;
        // The carry, and zero in its other form, without a branch: the verifier would
        // walk through all that follows twice.
        self.set_checksum((sum + ((sum + 1) >> 16)) as u16);
        self.set_ttl(self.ttl() - 1);
    }

    /// Writes another traffic class (DSCP and ECN); the checksum follows.
    #[inline(always)]
    pub fn set_class(&mut self, class: u8) {
        let word = |class| u16::from_ne_bytes([self.version_ihl(), class]) as u64;
        let difference = checksum::difference(word(self.tos()), word(class), 1);
        self.set_checksum(checksum::updated(self.checksum(), difference));
        self.set_tos(class);
    }

    /// Writes a whole header of ours, with its checksum: no options, not to be
    /// fragmented. Lengths in the host's order, addresses as on the wire.
    #[inline(always)]
    pub fn begin(
        &mut self,
        class: u8,
        total_len: u16,
        protocol: u8,
        source: u32,
        destination: u32,
    ) {
        self.set_version_ihl(0x45);
        self.set_tos(class);
        self.set_total_len(total_len.to_be());
        // An atomic datagram needs no identification (RFC 6864).
        self.set_id(0);
        self.set_fragment(IPV4_DF);
        self.set_ttl(HOPS);
        self.set_protocol(protocol);
        self.set_source(source);
        self.set_destination(destination);
        let sum = u64::from(u16::from_ne_bytes([0x45, class]))
            + u64::from(total_len.to_be())
            + u64::from(IPV4_DF)
            + u64::from(u16::from_ne_bytes([HOPS, protocol]))
            + u64::from(source)
            + u64::from(destination);
        self.set_checksum(!checksum::fold(sum));
    }
}

header! {
    /// An IPv6 header.
    Ipv6(IPV6_LEN) {
        0 version_class_label set_version_class_label: u32,
        4 payload_len set_payload_len: u16,
        6 next set_next: u8,
        7 hops set_hops: u8,
        8 source_0 set_source_0: u32,
        12 source_1 set_source_1: u32,
        16 source_2 set_source_2: u32,
        20 source_3 set_source_3: u32,
        24 destination_0 set_destination_0: u32,
        28 destination_1 set_destination_1: u32,
        32 destination_2 set_destination_2: u32,
        36 destination_3 set_destination_3: u32,
    }
}

impl Ipv6 {
    /// Its traffic class (DSCP and ECN).
    #[inline(always)]
    #[must_use]
    pub fn class(&self) -> u8 {
        (u32::from_be(self.version_class_label()) >> 20) as u8
    }

    /// Writes another one.
    #[inline(always)]
    pub fn set_class(&mut self, class: u8) {
        const PLACE: u32 = 0x0FF0_0000_u32.to_be();
        let others = self.version_class_label() & !PLACE;
        self.set_version_class_label(others | ((class as u32) << 20).to_be());
    }

    /// Writes a whole header of ours. Lengths in the host's order, addresses as
    /// on the wire.
    #[inline(always)]
    pub fn begin(
        &mut self,
        class: u8,
        payload_len: u16,
        next: u8,
        source: [u32; 4],
        destination: [u32; 4],
    ) {
        self.set_version_class_label((0x6000_0000 | (class as u32) << 20).to_be());
        self.set_payload_len(payload_len.to_be());
        self.set_next(next);
        self.set_hops(HOPS);
        self.set_source(source);
        self.set_destination(destination);
    }

    #[inline(always)]
    #[must_use]
    pub fn source(&self) -> [u32; 4] {
        [
            self.source_0(),
            self.source_1(),
            self.source_2(),
            self.source_3(),
        ]
    }

    #[inline(always)]
    #[must_use]
    pub fn destination(&self) -> [u32; 4] {
        [
            self.destination_0(),
            self.destination_1(),
            self.destination_2(),
            self.destination_3(),
        ]
    }

    #[inline(always)]
    pub fn set_source(&mut self, [a, b, c, d]: [u32; 4]) {
        self.set_source_0(a);
        self.set_source_1(b);
        self.set_source_2(c);
        self.set_source_3(d);
    }

    #[inline(always)]
    pub fn set_destination(&mut self, [a, b, c, d]: [u32; 4]) {
        self.set_destination_0(a);
        self.set_destination_1(b);
        self.set_destination_2(c);
        self.set_destination_3(d);
    }

    /// Writes both addresses. Returns the difference that it makes to a
    /// checksum that covers them.
    #[inline(always)]
    pub fn set_addresses(&mut self, source: [u32; 4], destination: [u32; 4]) -> u64 {
        let bytes = &mut self.0;
        let mut sum = checksum::difference(0, 0, 8);
        sum = unaligned::word::replace::<8>(bytes, source[0], sum);
        sum = unaligned::word::replace::<12>(bytes, source[1], sum);
        sum = unaligned::word::replace::<16>(bytes, source[2], sum);
        sum = unaligned::word::replace::<20>(bytes, source[3], sum);
        sum = unaligned::word::replace::<24>(bytes, destination[0], sum);
        sum = unaligned::word::replace::<28>(bytes, destination[1], sum);
        sum = unaligned::word::replace::<32>(bytes, destination[2], sum);
        unaligned::word::replace::<36>(bytes, destination[3], sum)
    }
}

header! {
    /// An IPv6 fragment header (RFC 8200, section 4.5).
    FragmentHeader(8) {
        0 next set_next: u8,
        /// Offset in the upper 13 bits, more-fragments in the lowest.
        2 offset set_offset: u16,
        4 id set_id: u32,
    }
}

header! {
    /// A TCP header without its options.
    Tcp(TCP_LEN) {
        /// Source, then destination.
        0 ports set_ports: u32,
        4 seq set_seq: u32,
        8 ack set_ack: u32,
        /// The header's length in words, in the upper half.
        12 data_offset set_data_offset: u8,
        13 flags set_flags: u8,
        14 window set_window: u16,
        16 checksum set_checksum: u16,
        18 urgent set_urgent: u16,
    }
}

header! {
    /// A UDP header.
    Udp(UDP_LEN) {
        /// Source, then destination.
        0 ports set_ports: u32,
        4 length set_length: u16,
        6 checksum set_checksum: u16,
    }
}

/// A header of layer 4 with the checksum of what follows the IP header.
pub trait Checksummed: Pod {
    /// Where in the header it lies.
    const CHECKSUM_AT: usize;
    /// Zero says that there is none (RFC 768); a sum of zero is sent as all ones.
    const OPTIONAL: bool;
    fn checksum(&self) -> u16;
    fn set_checksum(&mut self, checksum: u16);
}

macro_rules! checksummed {
    ($($header:ident $at:literal $optional:literal,)*) => {$(
        impl Checksummed for $header {
            const CHECKSUM_AT: usize = $at;
            const OPTIONAL: bool = $optional;
            #[inline(always)]
            fn checksum(&self) -> u16 {
                self.checksum()
            }
            #[inline(always)]
            fn set_checksum(&mut self, checksum: u16) {
                self.set_checksum(checksum);
            }
        }
    )*};
}

checksummed! {
    Tcp 16 false,
    Udp 6 true,
    Icmp 2 false,
}

header! {
    /// The ports of TCP or UDP: all that is sure to be of a header that an ICMP
    /// error embeds. Or any word, when summing.
    Word(4) {
        0 value set_value: u32,
    }
}

header! {
    /// An ICMP or ICMPv6 header.
    Icmp(ICMP_LEN) {
        0 kind set_kind: u8,
        1 code set_code: u8,
        2 checksum set_checksum: u16,
        /// Depends on the type.
        4 rest set_rest: u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_where_its_rfc_puts_it() {
        let mut ip = Ipv4([0; IPV4_LEN]);
        ip.set_source(u32::from_ne_bytes([10, 0, 0, 1]));
        ip.set_total_len(40_u16.to_be());
        assert_eq!(ip.0[12..16], [10, 0, 0, 1]);
        assert_eq!(ip.0[2..4], [0, 40]);
        assert_eq!(ip.source(), u32::from_ne_bytes([10, 0, 0, 1]));
    }

    #[test]
    fn a_hop_that_is_spent_leaves_the_checksum_right() {
        for field in 0..=u16::MAX {
            for (ttl, protocol) in [(255, TCP), (64, UDP), (2, ICMP)] {
                let mut ip = Ipv4([0; IPV4_LEN]);
                ip.set_ttl(ttl);
                ip.set_protocol(protocol);
                ip.set_checksum(field);
                ip.spend_hop();
                let word = |ttl| u64::from(u16::from_ne_bytes([ttl, protocol]));
                let difference = checksum::difference(word(ttl), word(ttl - 1), 1);
                assert_eq!(ip.checksum(), checksum::updated(field, difference));
                assert_eq!((ip.ttl(), ip.protocol()), (ttl - 1, protocol));
            }
        }
    }

    #[test]
    fn the_header_of_a_fragment_says_where_it_belongs_and_its_checksum_is_right() {
        let mut ip = Ipv4([0; IPV4_LEN]);
        ip.begin(0, 1500, UDP, 1, 2);
        ip.set_piece(44, 0x2000 | 182);
        assert_eq!(ip.0[2..4], [0, 44]);
        assert_eq!(ip.0[6..8], [0x20, 182]);
        assert_eq!(checksum::fold(checksum::sum(&ip.0)), 0xFFFF);
    }

    #[test]
    fn another_class_is_where_it_should_be_and_leaves_the_checksum_right() {
        for class in 0..=u8::MAX {
            let mut ip = Ipv4([0; IPV4_LEN]);
            ip.begin(0x2E << 2, 40, TCP, 1, 2);
            ip.set_class(class);
            assert_eq!((ip.version_ihl(), ip.tos()), (0x45, class));
            assert_eq!(checksum::fold(checksum::sum(&ip.0)), 0xFFFF);
            let mut ip = Ipv6([0; IPV6_LEN]);
            ip.set_version_class_label(0x6BA1_2345_u32.to_be());
            ip.set_class(class);
            assert_eq!(ip.class(), class);
            let word = u32::from(class) << 20 | 0x6001_2345;
            assert_eq!(ip.version_class_label(), word.to_be());
        }
    }

    #[test]
    fn new_ipv6_addresses_are_what_the_difference_says() {
        let sum = |ip: &Ipv6| checksum::sum(&ip.0[8..]);
        let mut ip = Ipv6([0xA5; IPV6_LEN]);
        let before = !checksum::fold(sum(&ip));
        let difference = ip.set_addresses([1, 2, 3, u32::MAX], [5, u32::MAX, 7, 8]);
        assert_eq!(ip.source(), [1, 2, 3, u32::MAX]);
        assert_eq!(ip.destination(), [5, u32::MAX, 7, 8]);
        assert_eq!(
            checksum::updated(before, difference),
            !checksum::fold(sum(&ip))
        );
    }

    #[test]
    fn a_turned_frame_goes_back() {
        let mut frame = Ethernet([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 8, 0]);
        frame.turn();
        assert_eq!(frame.0, [7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6, 8, 0]);
        let mut written = Ethernet([0; ETHERNET_LEN]);
        written.set_macs([0x0102, 0x0304, 0x0506].map(u16::to_be), frame.source());
        assert_eq!(written.0[..12], [1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6]);
    }
}
