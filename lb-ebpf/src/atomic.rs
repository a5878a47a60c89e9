//! The atomic operations that the program needs.
//!
//! The kernel has them since 5.12; the compiler does not offer them for this target
//! yet, so they are written in the target's assembly.

/// Sets bits in a word that other CPUs may change at the same time, and returns
/// what it was.
///
/// # Safety
/// `word` is aligned to 8 bytes and valid, and no other CPU writes it but
/// atomically.
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

/// Keeps only these bits of a word that other CPUs may change at the same time, and returns
/// what it was.
///
/// # Safety
/// As of [`fetch_or`].
#[inline(always)]
pub(crate) unsafe fn fetch_and(word: *mut u64, bits: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = bits;
        // SAFETY: the caller's promise; one instruction, which writes `value`
        // and the word.
        unsafe {
            core::arch::asm!(
                "{value} = atomic_fetch_and((u64 *)({word} + 0), {value})",
                word = in(reg) word,
                value = inout(reg) value,
                options(nostack),
            );
        }
        value
    }
    // For the editor on the host.
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: the caller's promise.
        unsafe { AtomicU64::from_ptr(word) }.fetch_and(bits, Ordering::Relaxed)
    }
}

/// Adds to a word that other CPUs may change at the same time; it wraps.
///
/// # Safety
/// As of [`fetch_or`].
#[inline(always)]
pub(crate) unsafe fn add(word: *mut u64, more: u64) {
    #[cfg(target_arch = "bpf")]
    // SAFETY: the caller's promise; one instruction, which writes the word.
    unsafe {
        core::arch::asm!(
            "lock *(u64 *)({word} + 0) += {more}",
            word = in(reg) word,
            more = in(reg) more,
            options(nostack),
        );
    }
    // For the editor on the host.
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: the caller's promise.
        unsafe { AtomicU64::from_ptr(word) }.fetch_add(more, Ordering::Relaxed);
    }
}

/// Writes `new` to a word that other CPUs may change at the same time, if it is
/// `old`. False if it was something else.
///
/// # Safety
/// `word` is aligned to 8 bytes and valid, and others write it atomically only.
#[inline(always)]
pub(crate) unsafe fn exchange(word: *mut u64, old: u64, new: u64) -> bool {
    #[cfg(target_arch = "bpf")]
    {
        let mut seen = old;
        // SAFETY: the caller's promise; one instruction, which compares with r0,
        // and puts there what the word was.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({word} + 0, r0, {new})",
                word = in(reg) word,
                new = in(reg) new,
                inout("r0") seen,
                options(nostack),
            );
        }
        seen == old
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        use core::sync::atomic::{AtomicU64, Ordering};
        // SAFETY: the caller's promise.
        unsafe { AtomicU64::from_ptr(word) }
            .compare_exchange(old, new, Ordering::SeqCst, Ordering::Relaxed)
            .is_ok()
    }
}

/// Adds bits to a word, for all to see what was written before it.
///
/// # Safety
/// As of [`exchange`]; and nobody else writes the word now.
#[inline(always)]
pub(crate) unsafe fn publish(word: *mut u64, bits: u64) {
    // Here stores are seen in the order in which they are made, and the locked
    // operation would wait for all of them.
    #[cfg(bpf_target_arch = "x86_64")]
    // SAFETY: the caller's promise.
    unsafe {
        core::sync::atomic::compiler_fence(core::sync::atomic::Ordering::Release);
        word.write_volatile(word.read_volatile() | bits);
    }
    #[cfg(not(bpf_target_arch = "x86_64"))]
    // SAFETY: the caller's promise.
    unsafe {
        fetch_or(word, bits);
    }
}
