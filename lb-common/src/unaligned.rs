//! Numbers at any address of a packet.
//!
//! Headers lie unaligned in a packet. The kernel target's compiler reads such a
//! number byte by byte, or, told that it need not, also merges writes to the
//! stack in ways that the verifier refuses. So on that target each access is the
//! one instruction that it should be.

macro_rules! unaligned {
    ($($kind:ident $load:literal $store:literal,)*) => {$(
        pub(crate) mod $kind {
            /// The number at `OFFSET`.
            #[inline(always)]
            pub(crate) fn load<const OFFSET: usize>(bytes: &[u8]) -> $kind {
                debug_assert!(OFFSET + size_of::<$kind>() <= bytes.len());
                #[cfg(target_arch = "bpf")]
                {
                    let value: u64;
                    // SAFETY: reads what the slice covers (its callers assert
                    // that at compile time); the machine reads it unaligned, or
                    // the verifier refuses the program.
                    unsafe {
                        core::arch::asm!(
                            $load,
                            value = out(reg) value,
                            base = in(reg) bytes.as_ptr(),
                            offset = const OFFSET,
                            options(pure, readonly, nostack),
                        );
                    }
                    value as $kind
                }
                #[cfg(not(target_arch = "bpf"))]
                {
                    let mut value = [0; size_of::<$kind>()];
                    value.copy_from_slice(&bytes[OFFSET..OFFSET + size_of::<$kind>()]);
                    $kind::from_ne_bytes(value)
                }
            }

            /// Writes the number at `OFFSET`.
            #[inline(always)]
            pub(crate) fn store<const OFFSET: usize>(bytes: &mut [u8], value: $kind) {
                debug_assert!(OFFSET + size_of::<$kind>() <= bytes.len());
                #[cfg(target_arch = "bpf")]
                // SAFETY: as in `load`, for writing.
                unsafe {
                    core::arch::asm!(
                        $store,
                        value = in(reg) value as u64,
                        base = in(reg) bytes.as_mut_ptr(),
                        offset = const OFFSET,
                        options(nostack),
                    );
                }
                #[cfg(not(target_arch = "bpf"))]
                bytes[OFFSET..OFFSET + size_of::<$kind>()].copy_from_slice(&value.to_ne_bytes());
            }
        }
    )*};
}

unaligned! {
    u8 "{value} = *(u8 *)({base} + {offset})" "*(u8 *)({base} + {offset}) = {value}",
    u16 "{value} = *(u16 *)({base} + {offset})" "*(u16 *)({base} + {offset}) = {value}",
    u32 "{value} = *(u32 *)({base} + {offset})" "*(u32 *)({base} + {offset}) = {value}",
}

pub(crate) mod word {
    /// Writes the `u32` at `OFFSET`, and adds to `difference` what puts it in the
    /// old one's place in a ones' complement sum (RFC 1624), less the constant
    /// 2³²−1.
    ///
    /// One step for the compiler, too: it would rather read all the words of two
    /// addresses first, and has not the registers for them.
    #[inline(always)]
    pub(crate) fn replace<const OFFSET: usize>(
        bytes: &mut [u8],
        value: u32,
        difference: u64,
    ) -> u64 {
        debug_assert!(OFFSET + size_of::<u32>() <= bytes.len());
        #[cfg(target_arch = "bpf")]
        {
            let mut difference = difference;
            // SAFETY: as in `load` and `store`.
            unsafe {
                core::arch::asm!(
                    "{old} = *(u32 *)({base} + {offset})",
                    "*(u32 *)({base} + {offset}) = {value}",
                    "{difference} += {value}",
                    "{difference} -= {old}",
                    old = out(reg) _,
                    value = in(reg) value as u64,
                    difference = inout(reg) difference,
                    base = in(reg) bytes.as_mut_ptr(),
                    offset = const OFFSET,
                    options(nostack),
                );
            }
            difference
        }
        #[cfg(not(target_arch = "bpf"))]
        {
            let old = super::u32::load::<OFFSET>(bytes);
            super::u32::store::<OFFSET>(bytes, value);
            difference + u64::from(value) - u64::from(old)
        }
    }
}
