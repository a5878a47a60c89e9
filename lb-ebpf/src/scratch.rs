//! Room for what is too big for the stack of 512 bytes: one per CPU and family.

use lb_common::abi::{
    address::Address,
    flow::{Flow, FlowKey},
    fragment::FragmentKey,
};
use lb_ebpf::ip::Datagram;

use crate::packet::Packet;

/// All of it.
pub(crate) struct Room<A: Address> {
    pub(crate) datagram: Datagram<A>,
    /// The datagram that an ICMP error is about.
    pub(crate) embedded: Datagram<A>,
    pub(crate) packet: Packet<A>,
    pub(crate) fragment: FragmentKey<A>,
    pub(crate) scratch: Scratch<A>,
}

/// What the slow path builds before it goes into a table.
pub(crate) struct Scratch<A: Address> {
    /// The entry that the packet goes by: a new one, or what the tables say.
    pub(crate) value: Flow<A>,
    /// A new reply entry.
    pub(crate) reply: Flow<A>,
    /// The key of the flow's other direction.
    pub(crate) other: FlowKey<A>,
    /// The client's tuple of a flow that gives its port up.
    pub(crate) former: FlowKey<A>,
    /// The tuple of the backend's packets of the flow that this packet's client begins anew,
    /// if `comes_back` is not 0 (nat).
    pub(crate) again: FlowKey<A>,
    pub(crate) comes_back: u32,
    pub(crate) answer: Answer,
}

/// What the packet is to be turned into: the refusal that its protocol has, unless
/// it is too long or has used up its hops.
pub(crate) struct Answer {
    /// The [verdict](lb_common::abi::counter::Verdict) that it is counted under.
    pub(crate) verdict: u32,
    /// How long a datagram may be, if this one is longer; else 0.
    pub(crate) longest: u32,
}
