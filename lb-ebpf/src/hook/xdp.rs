//! XDP: the packet is a frame in memory, whole, untagged or tagged as it came, its
//! checksums finished.

use aya_ebpf::{
    bindings::{xdp_action, xdp_md},
    helpers::{bpf_redirect, bpf_xdp_adjust_head, bpf_xdp_adjust_tail},
};
use lb_common::{
    abi::counter::{Verdict, What},
    checksum,
    wire::{self, Checksummed},
};

use super::{Hook, Tail};
use crate::bounds::Bounds;

/// The packet of an XDP program.
#[derive(Clone, Copy)]
pub struct Xdp(*mut xdp_md);

impl Xdp {
    /// # Safety
    /// `context` is the program's own context, as the kernel passed it.
    #[inline(always)]
    pub unsafe fn new(context: *mut xdp_md) -> Self {
        Self(context)
    }

    /// Makes room for `bytes` at the front of the frame, or takes so many away, if
    /// negative.
    #[inline(always)]
    pub fn grow_front(self, bytes: i32) -> Result<Bounds, Verdict> {
        // SAFETY: the program's own context; the caller has given up its bounds.
        if unsafe { bpf_xdp_adjust_head(self.0, -bytes) } != 0 {
            return Err(Verdict::DropInternal);
        }
        Ok(self.bounds())
    }
}

// SAFETY: the bounds are read from the context each time that the packet may have
// moved.
unsafe impl Hook for Xdp {
    const REACHES_ALL: bool = false;

    #[inline(always)]
    fn bounds(self) -> Bounds {
        // SAFETY: the program's own context; the kernel rewrites these two reads to
        // the packet's real bounds.
        unsafe { Bounds::new((*self.0).data as usize, (*self.0).data_end as usize) }
    }

    #[inline(always)]
    fn frame_len(self, bounds: Bounds) -> usize {
        bounds.size()
    }

    #[inline(always)]
    fn segment_len(self, datagram: u32, _: u32) -> u32 {
        datagram
    }

    #[inline(always)]
    fn segments(self) -> u32 {
        1
    }

    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { (*self.0).ingress_ifindex }
    }

    #[inline(always)]
    fn has_tag_beside(self) -> bool {
        false
    }

    #[inline(always)]
    fn is_unfinished<T: Checksummed>(
        self,
        bounds: Bounds,
        _: usize,
    ) -> Result<(bool, Bounds), Verdict> {
        Ok((false, bounds))
    }

    #[inline(always)]
    fn mend<T: Checksummed>(
        self,
        mut bounds: Bounds,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<Bounds, Verdict> {
        let header = bounds.header::<T>(l4)?;
        let field = header.checksum();
        if T::OPTIONAL && field == 0 {
            return Ok(bounds);
        }
        let sum = checksum::updated(field, pseudo + own);
        header.set_checksum(if T::OPTIONAL && sum == 0 { 0xFFFF } else { sum });
        Ok(bounds)
    }

    #[inline(always)]
    fn seal<T: Checksummed>(
        self,
        mut bounds: Bounds,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<Bounds, Verdict> {
        bounds
            .header::<T>(l4)?
            .set_checksum(!checksum::fold(pseudo + own));
        Ok(bounds)
    }

    #[inline(always)]
    fn encapsulate(self, _: Bounds, l3: usize, len: usize) -> Result<Bounds, Verdict> {
        self.grow_front(len as i32 + wire::ETHERNET_LEN as i32 - l3 as i32)
    }

    #[inline(always)]
    fn make_room(self, _: Bounds, l3: usize, len: usize) -> Result<Bounds, Verdict> {
        let mut bounds = self.grow_front(len as i32)?;
        let old: &wire::Ethernet = bounds.read(len)?;
        let (macs, kind) = ([old.macs_0(), old.macs_1(), old.macs_2()], old.kind());
        let ethernet = bounds.header::<wire::Ethernet>(0)?;
        ethernet.set_mac_words(macs);
        ethernet.set_kind(kind);
        let mut at = wire::ETHERNET_LEN;
        for _ in 0..wire::MAX_TAGS {
            if at >= l3 {
                break;
            }
            let tag = bounds.read::<wire::Word>(len + at)?.value();
            bounds.header::<wire::Word>(at)?.set_value(tag);
            at += wire::VLAN_LEN;
        }
        Ok(bounds)
    }

    #[inline(always)]
    fn uncover(self, _: Bounds, len: usize, _: u16, _: u16) -> Result<Bounds, Verdict> {
        self.grow_front(-(len as i32))
    }

    #[inline(always)]
    fn cut(self, bounds: Bounds, len: usize) -> Result<Bounds, Verdict> {
        if bounds.size() <= len {
            return Ok(bounds);
        }
        let less = len as i32 - bounds.size() as i32;
        // SAFETY: as in `grow_front`.
        if unsafe { bpf_xdp_adjust_tail(self.0, less) } != 0 {
            return Err(Verdict::DropInternal);
        }
        Ok(self.bounds())
    }

    /// A program at XDP has the frame that it was given, and no other.
    const SENDS_MORE: bool = false;

    #[inline(always)]
    fn cover(self, _: Bounds, _: usize, _: u16, _: u16) -> Result<Bounds, Verdict> {
        Err(Verdict::DropInternal)
    }

    #[inline(always)]
    fn copy(self, _: usize, _: u32, _: &mut Tail) -> Result<(), Verdict> {
        Err(Verdict::DropInternal)
    }

    #[inline(always)]
    fn send_copy(self, _: Bounds, _: u32) -> Result<Bounds, Verdict> {
        Err(Verdict::DropInternal)
    }

    #[inline(always)]
    fn end_with(self, _: Bounds, _: usize, _: u32, _: &Tail) -> Result<Bounds, Verdict> {
        Err(Verdict::DropInternal)
    }

    #[inline(always)]
    fn send(self, ifindex: u32) -> u32 {
        if ifindex == self.ifindex() {
            xdp_action::XDP_TX
        } else {
            // SAFETY: the helper takes numbers only; an unknown interface becomes
            // XDP_ABORTED, which drops.
            unsafe { bpf_redirect(ifindex, 0) as u32 }
        }
    }

    #[inline(always)]
    fn end(self, what: What) -> u32 {
        match what {
            What::Pass => xdp_action::XDP_PASS,
            What::Drop => xdp_action::XDP_DROP,
            What::Abort => xdp_action::XDP_ABORTED,
            What::Answer => xdp_action::XDP_TX,
        }
    }
}
