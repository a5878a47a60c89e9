//! Room for what is too big for the stack of 512 bytes: one per CPU and family.

use lb_common::abi::{
    address::Address,
    counter::Verdict,
    flow::{Flow, FlowKey},
    fragment::FragmentKey,
};

use crate::{
    family::Family,
    parse::{Datagram, Packet},
};

/// All of it.
pub(crate) struct Room<A: Address> {
    pub(crate) datagram: Datagram<A>,
    /// The datagram that an ICMP error is about.
    pub(crate) embedded: Datagram<A>,
    pub(crate) packet: Packet<A>,
    pub(crate) fragment: FragmentKey<A>,
    pub(crate) scratch: Scratch<A>,
}

/// What the slow way builds before it goes into a table.
pub(crate) struct Scratch<A: Address> {
    /// A new forward entry.
    pub(crate) value: Flow<A>,
    /// A new reply entry.
    pub(crate) reply: Flow<A>,
    /// The key of the flow's other direction.
    pub(crate) other: FlowKey<A>,
}

/// This CPU's room. To be asked for once per packet.
#[inline(always)]
pub(crate) fn room<A: Family>() -> Result<&'static mut Room<A>, Verdict> {
    let room = A::room().get_ptr_mut(0).ok_or(Verdict::DropInternal)?;
    // SAFETY: this CPU's own value; a packet's way is not interrupted by
    // another packet's, and `slow` asks once.
    Ok(unsafe { &mut *room })
}
