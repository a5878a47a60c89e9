//! A limit to what a CPU sends by itself in a second or so.

use super::plain::plain;

/// What the program makes of packets by itself. Each kind has a limit of its own, so that
/// a flood that is answered with one takes nothing from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A RST where no flow is, or none can be. Not one for a flow that was taken from
    /// its backend: there are only as many of those as there were flows.
    Reset,
    /// ICMP: nobody takes the datagram.
    Unreachable,
    /// ICMP: the packet is longer than its way out takes.
    TooBig,
    /// ICMP: echo to a VIP.
    Echo,
    /// ICMP: the packet's hops are used up.
    Expired,
    /// ICMP: what was told about a tunnel, told on about the packet inside.
    Tunnel,
}

/// How many kinds there are.
pub const KINDS: u32 = 6;

impl Kind {
    /// How many of them a CPU sends in a window. A RST is no longer than what it answers,
    /// and a client waits for it; the others are worth less, or twice as long.
    #[inline(always)]
    #[must_use]
    pub const fn most(self) -> u32 {
        match self {
            Self::Reset => 10_000,
            Self::Unreachable | Self::TooBig | Self::Echo | Self::Expired | Self::Tunnel => 1000,
        }
    }
}

/// The window in ticks, as a power of two: 2^10 ticks are 1.07 s.
const WINDOW_SHIFT: u32 = 10;

/// What a CPU has sent of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Rate {
    pub window: u32,
    pub sent: u32,
}

plain!(Rate);

impl Rate {
    /// Whether one more may be sent; counts it.
    #[inline(always)]
    #[must_use]
    pub fn allows(&mut self, kind: Kind, now: u32) -> bool {
        let window = now >> WINDOW_SHIFT;
        if self.window != window {
            *self = Self { window, sent: 0 };
        }
        if self.sent >= kind.most() {
            return false;
        }
        self.sent += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_the_limit_is_sent_in_a_window_and_the_next_begins_anew() {
        for kind in [
            Kind::Reset,
            Kind::Unreachable,
            Kind::TooBig,
            Kind::Echo,
            Kind::Expired,
            Kind::Tunnel,
        ] {
            let mut rate = Rate::default();
            for window in [5, 6, 0, u32::MAX >> WINDOW_SHIFT] {
                let now = window << WINDOW_SHIFT;
                let sent = (0..20_000).filter(|_| rate.allows(kind, now)).count();
                assert_eq!(sent as u32, kind.most(), "{kind:?}");
                assert!(!rate.allows(kind, now + 1023), "{kind:?}");
            }
        }
    }
}
