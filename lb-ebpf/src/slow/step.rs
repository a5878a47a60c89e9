//! What one function of the slow path leaves to the next: in its return value what to
//! do, and the rest in the [scratch room](crate::scratch).

use lb_common::abi::counter::Verdict;

/// Who goes on with the packet.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Next {
    /// Read: a TCP or UDP packet.
    Connection,
    /// Read: an ICMP message.
    Icmp,
    /// Admitted: the new flow in [`Scratch::value`] wants a port (nat).
    ///
    /// [`Scratch::value`]: crate::scratch::Scratch::value
    Bind,
    /// Decided: the packet goes on by the entry in [`Scratch::value`].
    ///
    /// [`Scratch::value`]: crate::scratch::Scratch::value
    Send,
    /// Decided: the packet is turned into what [`Scratch::answer`] says.
    ///
    /// [`Scratch::answer`]: crate::scratch::Scratch::answer
    Answer,
    /// Read: an ICMP error about a tunnel with IPv4 inside.
    TunnelV4,
    /// As above, with IPv6 inside.
    TunnelV6,
}

/// Where what a step found is not an action: above all actions of all hooks.
const GO_ON: u32 = 1 << 16;

impl Next {
    /// As a function returns it that returns an action otherwise.
    #[inline(always)]
    pub(crate) const fn code(self) -> u32 {
        GO_ON | self as u32
    }
}

/// What a step found, or the verdict that ends the way.
pub(crate) type Step = Result<Next, Verdict>;
