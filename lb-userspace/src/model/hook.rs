//! Where in the kernel packets are taken.

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
    Tc,
}

impl Hook {
    /// As the API and the metrics have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tc => "tc",
        }
    }

    /// How XDP runs there.
    #[must_use]
    pub const fn xdp(self) -> &'static str {
        match self {
            Self::Xdp => "driver",
            Self::Tc => "off",
        }
    }
}
