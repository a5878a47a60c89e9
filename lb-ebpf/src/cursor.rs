//! Bounds-checked access to the packet. All pointer arithmetic on packets is
//! here; everything else reads and writes headers through a [`Cursor`].

use aya_ebpf::{
    bindings::xdp_md,
    helpers::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
};
use bytemuck::Pod;
use lb_common::abi::counter::Verdict;

/// The packet that the program is run on.
///
/// It holds the packet's bounds as the kernel gave them; whatever moves the
/// bounds takes the cursor and gives a new one.
pub(crate) struct Cursor {
    context: *mut xdp_md,
    start: usize,
    end: usize,
}

impl Cursor {
    /// A cursor on the packet of `context`.
    ///
    /// # Safety
    /// `context` is the program's own context, as the kernel passed it.
    #[inline(always)]
    pub(crate) unsafe fn new(context: *mut xdp_md) -> Self {
        // SAFETY: the caller's promise; the kernel rewrites these two reads to
        // the packet's real bounds.
        let (start, end) = unsafe { ((*context).data as usize, (*context).data_end as usize) };
        Self {
            context,
            start,
            end,
        }
    }

    /// The length of the frame.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The kernel's index of the interface that the packet came in by.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: `context` is the program's context (see `new`).
        unsafe { (*self.context).ingress_ifindex }
    }

    #[inline(always)]
    fn pointer<T: Pod>(&self, offset: usize) -> Result<*mut T, Verdict> {
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
    pub(crate) fn read<T: Pod>(&self, offset: usize) -> Result<&T, Verdict> {
        let pointer = self.pointer::<T>(offset)?;
        // SAFETY: inside the packet by `pointer`; T has no alignment and every
        // bit pattern is a value.
        Ok(unsafe { &*pointer })
    }

    /// The header at `offset`, to change in place.
    #[inline(always)]
    pub(crate) fn header<T: Pod>(&mut self, offset: usize) -> Result<&mut T, Verdict> {
        let pointer = self.pointer::<T>(offset)?;
        // SAFETY: as in `read`; the borrow of the cursor keeps it the only one.
        Ok(unsafe { &mut *pointer })
    }

    /// Makes room for `bytes` at the front (or takes them away, if negative).
    #[inline(always)]
    pub(crate) fn grow_front(self, bytes: i32) -> Result<Self, Verdict> {
        // SAFETY: the program's own context; all borrows of the packet ended
        // with the cursor that was taken.
        if unsafe { bpf_xdp_adjust_head(self.context, -bytes) } != 0 {
            return Err(Verdict::DropInternal);
        }
        // SAFETY: still the program's own context.
        Ok(unsafe { Self::new(self.context) })
    }

    /// Cuts the frame to `len` bytes. A shorter one stays as it is.
    #[inline(always)]
    pub(crate) fn cut(self, len: usize) -> Result<Self, Verdict> {
        if self.len() <= len {
            return Ok(self);
        }
        let less = len as i32 - self.len() as i32;
        // SAFETY: as in `grow_front`.
        if unsafe { bpf_xdp_adjust_tail(self.context, less) } != 0 {
            return Err(Verdict::DropInternal);
        }
        // SAFETY: still the program's own context.
        Ok(unsafe { Self::new(self.context) })
    }
}
