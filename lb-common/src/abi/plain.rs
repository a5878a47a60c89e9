//! The promise that a layout is plain bytes, made in one place.

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
