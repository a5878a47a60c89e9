//! The address of an Ethernet interface.

/// A MAC address.
pub type Mac = [u8; 6];

/// As people write it.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}
