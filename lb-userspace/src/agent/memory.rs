//! How the agent gives memory back.

/// From this size on, a block of memory goes back to the host when it is freed.
#[cfg(target_env = "gnu")]
const BLOCK: libc::c_int = 128 << 10;

/// Has large blocks go back to the host as soon as they are freed.
///
/// glibc begins like that and then learns from the largest block that was freed, up to
/// 32 MiB: smaller ones come from the heap from then on, where one small block behind them
/// keeps all of them. A stranger's large request would so cost its memory for ever, and a
/// start a third of what the agent has resident.
pub(super) fn give_back_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: it takes two numbers and changes a setting of the allocator's. It fails
        // only for numbers that this one is not among, and then nothing has changed.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, BLOCK) };
    }
}
