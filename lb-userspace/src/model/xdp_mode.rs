//! Where the kernel program runs on an interface.

/// How the kernel program is put on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum XdpMode {
    /// In the driver; generic, with a warning, where that has no XDP.
    #[default]
    Auto,
    /// In the driver or not at all.
    Driver,
    /// After the kernel has made an skb of the packet: works everywhere, slowly.
    Generic,
}
