//! Numbers of the protocols on the wire, each with its source.

/// Ethernet: two MAC addresses and a type (IEEE 802.3).
pub const ETHERNET_LEN: usize = 14;
/// A VLAN tag (IEEE 802.1Q).
pub const VLAN_LEN: usize = 4;

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
/// Don't fragment, more fragments, and the offset (RFC 791), as read.
pub const IPV4_DF: u16 = 0x4000_u16.to_be();
pub const IPV4_MF: u16 = 0x2000_u16.to_be();
pub const IPV4_OFFSET: u16 = 0x1FFF_u16.to_be();

/// A TCP header without options (RFC 9293).
pub const TCP_LEN: usize = 20;
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

/// ICMPv6 types (RFC 4443).
pub const ICMPV6_UNREACHABLE: u8 = 1;
pub const ICMPV6_TOO_BIG: u8 = 2;
pub const ICMPV6_TIME_EXCEEDED: u8 = 3;
pub const ICMPV6_PARAMETER_PROBLEM: u8 = 4;
pub const ICMPV6_ECHO: u8 = 128;
pub const ICMPV6_ECHO_REPLY: u8 = 129;
pub const ICMPV6_CODE_PORT: u8 = 4;
