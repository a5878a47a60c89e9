//! The kernel programs, as compiled, inside this binary.
//!
//! The objects are aligned for the ELF parser. They are empty when the crate was
//! built without them (see `build.rs`); whoever loads one must check
//! [`is_embedded`] first.

/// The balancer.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ebb-bpf.o"));

/// The backend's end of an ipip tunnel.
pub static DECAP: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ebb-decap.o"));

/// Whether this binary carries the kernel programs. `cargo xtask build` makes
/// one that does; `cargo build` one that does not.
pub const fn is_embedded() -> bool {
    !OBJECT.is_empty() && !DECAP.is_empty()
}
