//! Where a packet lies in memory. All pointer arithmetic on packets is here.

use bytemuck::Pod;
use lb_common::abi::counter::Verdict;

/// The part of a packet that a program may read and write.
#[derive(Clone, Copy)]
pub struct Bounds {
    start: usize,
    end: usize,
}

impl Bounds {
    /// The bytes from `start` up to `end`.
    ///
    /// # Safety
    /// These are the two addresses that the kernel has given the program for
    /// the packet, and nothing that moves the packet was asked of it since.
    #[inline(always)]
    pub unsafe fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// How many bytes there are.
    #[inline(always)]
    pub fn size(self) -> usize {
        self.end - self.start
    }

    #[inline(always)]
    fn pointer<T: Pod>(self, offset: usize) -> Result<*mut T, Verdict> {
        const {
            assert!(
                align_of::<T>() == 1,
                "packets are not aligned: use packed types"
            );
        }
        let at = self.start + offset;
        if at + size_of::<T>() > self.end {
            return Err(Verdict::Malformed);
        }
        Ok(at as *mut T)
    }

    /// The header at `offset`.
    #[inline(always)]
    pub fn read<T: Pod>(&self, offset: usize) -> Result<&T, Verdict> {
        let pointer = self.pointer::<T>(offset)?;
        // SAFETY: inside the packet by `pointer`; T has no alignment and every
        // bit pattern is a value.
        Ok(unsafe { &*pointer })
    }

    /// The header at `offset`, to change in place.
    #[inline(always)]
    pub fn header<T: Pod>(&mut self, offset: usize) -> Result<&mut T, Verdict> {
        let pointer = self.pointer::<T>(offset)?;
        // SAFETY: as in `read`. The borrow keeps it the only one: a copy of the
        // bounds is made only to be handed to the hook, and given up for what the
        // hook returns.
        Ok(unsafe { &mut *pointer })
    }
}
