//! The forwarding mode: how packets reach a backend. One enum from the file that
//! names it to the kernel program that obeys it.

/// How packets reach a backend.
///
/// In the maps it is a byte. Zero is none of them, so that an entry that nobody
/// has written has no mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// Both addresses are translated; replies come back through ebb.
    Nat = 1,
    /// The MAC address is rewritten; the backend answers the client itself.
    Dsr = 2,
    /// The packet is encapsulated; the backend answers the client itself.
    Ipip = 3,
}

impl Mode {
    /// Each of them.
    pub const ALL: [Self; 3] = [Self::Nat, Self::Dsr, Self::Ipip];

    /// The mode that a map's byte stands for, if it stands for one.
    #[inline(always)]
    #[must_use]
    pub const fn of_byte(byte: u8) -> Option<Self> {
        const NAT: u8 = Mode::Nat.byte();
        const DSR: u8 = Mode::Dsr.byte();
        const IPIP: u8 = Mode::Ipip.byte();
        match byte {
            NAT => Some(Self::Nat),
            DSR => Some(Self::Dsr),
            IPIP => Some(Self::Ipip),
            _ => None,
        }
    }

    /// The byte that stands for it in a map.
    #[inline(always)]
    #[must_use]
    pub const fn byte(self) -> u8 {
        self as u8
    }

    /// Whether the packets of both ends pass by, so that a flow's end is seen.
    #[inline(always)]
    #[must_use]
    pub const fn sees_both_sides(self) -> bool {
        match self {
            Self::Nat => true,
            Self::Dsr | Self::Ipip => false,
        }
    }

    /// Whether addresses and ports are written anew.
    #[inline(always)]
    #[must_use]
    pub const fn translates(self) -> bool {
        match self {
            Self::Nat => true,
            Self::Dsr | Self::Ipip => false,
        }
    }

    /// Whether packets travel inside others.
    #[inline(always)]
    #[must_use]
    pub const fn tunnels(self) -> bool {
        match self {
            Self::Ipip => true,
            Self::Nat | Self::Dsr => false,
        }
    }

    /// Its name in files, on the wire and on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Dsr => "dsr",
            Self::Ipip => "ipip",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_is_a_mode_only_if_a_mode_has_written_it() {
        let known: Vec<Mode> = (0..=u8::MAX).filter_map(Mode::of_byte).collect();
        assert_eq!(known, Mode::ALL);
        for mode in known {
            assert_eq!(Mode::of_byte(mode.byte()), Some(mode));
        }
    }
}
