//! The one atomic operation that the program needs.
//!
//! The kernel has it since 5.12; the compiler does not offer it for this target
//! yet, so it is written in the target's assembly.

/// Sets bits in a word that other CPUs may change at the same time, and returns
/// what it was.
///
/// # Safety
/// `word` is aligned to 8 bytes and valid, and no other CPU writes it but by
/// this function.
#[inline(always)]
pub(crate) unsafe fn fetch_or(word: *mut u64, bits: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = bits;
        // SAFETY: the caller's promise; one instruction, which writes `value`
        // and the word.
        unsafe {
            core::arch::asm!(
                "{value} = atomic_fetch_or((u64 *)({word} + 0), {value})",
                word = in(reg) word,
                value = inout(reg) value,
                options(nostack),
            );
        }
        value
    }
    // For the editor on the host, which checks this crate as well.
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: the caller's promise.
        unsafe { AtomicU64::from_ptr(word) }.fetch_or(bits, Ordering::Relaxed)
    }
}
