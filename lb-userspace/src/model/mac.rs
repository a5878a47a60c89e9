//! The address of an Ethernet interface.

/// A MAC address.
pub type Mac = [u8; 6];
