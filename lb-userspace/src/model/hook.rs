//! Where in the kernel packets are taken.

/// Since this version of Linux what is attached to TC can be a link, which outlives the
/// agent and is replaced in one step.
pub const TC_LINKS_SINCE: (u32, u32) = (6, 6);

/// The hook that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HookChoice {
    /// XDP, where every interface's driver runs it and nothing virtual is in the way; else TC.
    #[default]
    Auto,
    /// XDP in the driver or not at all.
    Xdp,
    /// TC, which every device has.
    Tc,
}

/// The hook at which an interface's packets are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// XDP, in the driver.
    Xdp,
    /// XDP after the kernel has made a socket buffer of the packet: slow, and only where
    /// the kernel has no links for TC.
    GenericXdp,
    Tc,
}

impl Hook {
    /// As the API and the metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::GenericXdp => "generic-xdp",
            Self::Tc => "tc",
        }
    }

    /// How XDP runs there.
    #[must_use]
    pub const fn xdp(self) -> &'static str {
        match self {
            Self::Xdp => "driver",
            Self::GenericXdp => "generic",
            Self::Tc => "off",
        }
    }
}
