//! The layouts that both sides see: keys and values of the maps.
//!
//! Everything is `#[repr(C)]` without padding; sizes are asserted, so that a
//! change of layout is a compile error on one side and a schema mismatch on
//! the other. Addresses and ports are kept as they are on the wire.

pub mod address;
pub mod backend;
pub mod config;
pub mod counter;
pub mod flow;
pub mod fragment;
pub mod half_open;
pub mod vip;

/// Raised with every change of a layout or of the meaning of a field. The agent
/// keeps pinned maps only if this number is theirs.
pub const SCHEMA: u32 = 2;

/// Declares that the kernel may fill, and the agent may read, these types as
/// plain bytes.
macro_rules! plain {
    ($($t:ty),* $(,)?) => {$(
        // SAFETY: repr(C), every field is plain data, and the size assertion
        // beside each definition shows that no padding lies between them.
        unsafe impl bytemuck::Zeroable for $t {}
        // SAFETY: as above.
        unsafe impl bytemuck::Pod for $t {}
        #[cfg(feature = "aya")]
        // SAFETY: as above; aya asks for the same as bytemuck.
        unsafe impl aya::Pod for $t {}
    )*};
}
pub(crate) use plain;
