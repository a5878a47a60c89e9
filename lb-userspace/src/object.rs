//! The kernel program, as compiled, inside this binary.

/// The BPF object, aligned for the ELF parser.
///
/// Empty when the crate was built without one (see `build.rs`); whoever loads
/// it must check [`is_embedded`] first.
pub static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/ebb-bpf.o"));

/// Whether this binary carries the kernel program. `cargo xtask build` makes
/// one that does; `cargo build` one that does not.
pub const fn is_embedded() -> bool {
    !OBJECT.is_empty()
}
