//! TC: the packet is a socket buffer. Only its first part may be readable, it may be a
//! segment of 64 KiB that a device cuts later, its VLAN tag may lie beside it, and its
//! checksum may be a device's to finish.

use aya_ebpf::{
    bindings::{
        __sk_buff, BPF_F_ADJ_ROOM_ENCAP_L3_IPV4, BPF_F_ADJ_ROOM_ENCAP_L3_IPV6,
        BPF_F_ADJ_ROOM_FIXED_GSO, BPF_F_MARK_MANGLED_0, BPF_F_PSEUDO_HDR, TC_ACT_SHOT,
        TC_ACT_UNSPEC, bpf_adj_room_mode::BPF_ADJ_ROOM_MAC,
    },
    helpers::{
        bpf_clone_redirect, bpf_l4_csum_replace, bpf_redirect, bpf_skb_adjust_room,
        bpf_skb_change_head, bpf_skb_change_proto, bpf_skb_change_tail, bpf_skb_load_bytes,
        bpf_skb_pull_data, bpf_skb_store_bytes, bpf_skb_vlan_pop,
    },
};
use lb_common::{
    abi::counter::{Verdict, What},
    checksum,
    wire::{self, Checksummed},
};

use super::{Hook, TAIL, Tail};
use crate::bounds::Bounds;

/// The packet of a TC classifier.
#[derive(Clone, Copy)]
pub struct Tc(*mut __sk_buff);

impl Tc {
    /// # Safety
    /// `context` is the program's own context, as the kernel passed it.
    #[inline(always)]
    pub unsafe fn new(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// Makes all headers readable that are read anywhere, as far as the packet has them.
    /// Where the kernel has no memory for that, they are found to be missing later.
    #[inline(always)]
    pub fn pull(self) {
        let len = self.len();
        let wanted = if len < wire::HEADERS {
            len
        } else {
            wire::HEADERS
        };
        if self.bounds().size() < wanted {
            // SAFETY: the program's own context; the bounds are not used any more.
            unsafe { bpf_skb_pull_data(self.0, wanted as u32) };
        }
    }

    /// The EtherType, also where there is no link header that has it.
    #[inline(always)]
    pub fn protocol(self) -> u16 {
        // SAFETY: the program's own context.
        unsafe { (*self.0).protocol as u16 }
    }

    /// Puts a link header before a packet that has none: from nobody, to nobody. It stays
    /// where the packet goes on to the host, which does not look at it.
    #[inline(always)]
    pub fn put_link_header(self) -> Result<(), Verdict> {
        let kind = self.protocol();
        // SAFETY: the program's own context; no bounds are in use.
        if unsafe { bpf_skb_change_head(self.0, wire::ETHERNET_LEN as u32, 0) } != 0 {
            return Err(Verdict::DropInternal);
        }
        self.bounds().header::<wire::Ethernet>(0)?.set_kind(kind);
        Ok(())
    }

    #[inline(always)]
    fn len(self) -> usize {
        // SAFETY: the program's own context.
        unsafe { (*self.0).len as usize }
    }

    /// Adds a difference to the checksum of a header of layer 4. With
    /// `BPF_F_PSEUDO_HDR` it is in the field whether that is finished or not; without,
    /// only if it is.
    #[inline(always)]
    fn add<T: Checksummed>(self, l4: usize, difference: u64, flags: u32) -> Result<(), Verdict> {
        let field = (l4 + T::CHECKSUM_AT) as u32;
        let difference = checksum::fold_once(difference) as u64;
        // SAFETY: the program's own context; the caller has given up its bounds.
        if unsafe { bpf_l4_csum_replace(self.0, field, 0, difference, flags as u64) } != 0 {
            return Err(Verdict::DropInternal);
        }
        Ok(())
    }
}

// SAFETY: the bounds are read from the context each time that the packet may have
// moved.
unsafe impl Hook for Tc {
    const REACHES_ALL: bool = true;

    #[inline(always)]
    fn bounds(self) -> Bounds {
        // SAFETY: the program's own context; the kernel rewrites these two reads to
        // the packet's real bounds.
        unsafe { Bounds::new((*self.0).data as usize, (*self.0).data_end as usize) }
    }

    #[inline(always)]
    fn frame_len(self, _: Bounds) -> usize {
        self.len()
    }

    #[inline(always)]
    fn segment_len(self, datagram: u32, headers: u32) -> u32 {
        // SAFETY: the program's own context.
        let payload = unsafe { (*self.0).gso_size };
        if payload == 0 {
            return datagram;
        }
        let segment = headers + payload;
        if segment < datagram {
            segment
        } else {
            datagram
        }
    }

    #[inline(always)]
    fn segments(self) -> u32 {
        // SAFETY: the program's own context.
        let segments = unsafe { (*self.0).gso_segs };
        if segments == 0 { 1 } else { segments }
    }

    #[inline(always)]
    fn ifindex(self) -> u32 {
        // SAFETY: the program's own context.
        unsafe { (*self.0).ifindex }
    }

    #[inline(always)]
    fn has_tag_beside(self) -> bool {
        // SAFETY: the program's own context.
        unsafe { (*self.0).vlan_present != 0 }
    }

    #[inline(always)]
    fn is_unfinished<T: Checksummed>(
        self,
        bounds: Bounds,
        l4: usize,
    ) -> Result<(bool, Bounds), Verdict> {
        let before = bounds.read::<T>(l4)?.checksum();
        // Nothing is asked of a sum that is not there, so not as an optional one.
        self.add::<T>(l4, 1, 0)?;
        let mut bounds = self.bounds();
        let header = bounds.header::<T>(l4)?;
        let unfinished = header.checksum() == before;
        header.set_checksum(before);
        Ok((unfinished, bounds))
    }

    #[inline(always)]
    fn mend<T: Checksummed>(
        self,
        _: Bounds,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<Bounds, Verdict> {
        let flags = if T::OPTIONAL { BPF_F_MARK_MANGLED_0 } else { 0 };
        if pseudo != 0 {
            self.add::<T>(l4, pseudo, flags | BPF_F_PSEUDO_HDR)?;
        }
        if own != 0 {
            self.add::<T>(l4, own, flags)?;
        }
        Ok(self.bounds())
    }

    #[inline(always)]
    fn seal<T: Checksummed>(
        self,
        bounds: Bounds,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<Bounds, Verdict> {
        let (unfinished, mut bounds) = self.is_unfinished::<T>(bounds, l4)?;
        let sum = if unfinished {
            checksum::fold(pseudo)
        } else {
            !checksum::fold(pseudo + own)
        };
        bounds.header::<T>(l4)?.set_checksum(sum);
        Ok(bounds)
    }

    #[inline(always)]
    fn encapsulate(self, _: Bounds, l3: usize, len: usize) -> Result<Bounds, Verdict> {
        if l3 != wire::ETHERNET_LEN || self.has_tag_beside() {
            // The one beside the frame and those in it; where none is left, nothing is
            // done.
            for _ in 0..=wire::MAX_TAGS {
                // SAFETY: the program's own context; the caller has given up its bounds.
                if unsafe { bpf_skb_vlan_pop(self.0) } != 0 {
                    return Err(Verdict::DropInternal);
                }
            }
        }
        let outer = if len == wire::IPV4_LEN {
            BPF_F_ADJ_ROOM_ENCAP_L3_IPV4
        } else {
            BPF_F_ADJ_ROOM_ENCAP_L3_IPV6
        };
        // That a segment with its outer header fits the link was asked before.
        self.grow(len, outer | BPF_F_ADJ_ROOM_FIXED_GSO)
    }

    #[inline(always)]
    fn make_room(self, _: Bounds, l3: usize, len: usize) -> Result<Bounds, Verdict> {
        // The kernel makes none behind a tag in the frame, which is the second of two.
        if l3 != wire::ETHERNET_LEN {
            return Err(Verdict::DropVlan);
        }
        self.grow(len, BPF_F_ADJ_ROOM_FIXED_GSO)
    }

    #[inline(always)]
    fn uncover(self, _: Bounds, len: usize, from: u16, to: u16) -> Result<Bounds, Verdict> {
        self.reshape(-(len as i32), from, to)
    }

    #[inline(always)]
    fn cut(self, bounds: Bounds, len: usize) -> Result<Bounds, Verdict> {
        if self.len() <= len {
            return Ok(bounds);
        }
        // SAFETY: the program's own context; the caller has given up its bounds.
        if unsafe { bpf_skb_change_tail(self.0, len as u32, 0) } != 0 {
            return Err(Verdict::DropInternal);
        }
        Ok(self.bounds())
    }

    const SENDS_MORE: bool = true;

    #[inline(always)]
    fn cover(self, _: Bounds, len: usize, from: u16, to: u16) -> Result<Bounds, Verdict> {
        self.reshape(len as i32, from, to)
    }

    #[inline(always)]
    fn copy(self, at: usize, len: u32, to: &mut Tail) -> Result<(), Verdict> {
        // SAFETY: the program's own context, and room for as much as is asked for.
        let copied = unsafe {
            bpf_skb_load_bytes(
                self.0.cast(),
                at as u32,
                to.as_mut_ptr().cast(),
                bounded(len),
            )
        };
        if copied != 0 {
            return Err(Verdict::DropInternal);
        }
        Ok(())
    }

    #[inline(always)]
    fn send_copy(self, _: Bounds, ifindex: u32) -> Result<Bounds, Verdict> {
        // SAFETY: the program's own context; the caller has given up its bounds.
        if unsafe { bpf_clone_redirect(self.0, ifindex, 0) } != 0 {
            return Err(Verdict::DropInternal);
        }
        Ok(self.bounds())
    }

    #[inline(always)]
    fn end_with(self, _: Bounds, at: usize, len: u32, from: &Tail) -> Result<Bounds, Verdict> {
        let len = bounded(len);
        // SAFETY: the program's own context; the caller has given up its bounds, and `from`
        // has as much as is asked for.
        let put = unsafe {
            bpf_skb_change_tail(self.0, at as u32 + len, 0) == 0
                && bpf_skb_store_bytes(self.0, at as u32, from.as_ptr().cast(), len, 0) == 0
        };
        if !put {
            return Err(Verdict::DropInternal);
        }
        Ok(self.bounds())
    }

    #[inline(always)]
    fn send(self, ifindex: u32) -> u32 {
        // SAFETY: the helper takes numbers only; a packet to an unknown interface is
        // dropped.
        unsafe { bpf_redirect(ifindex, 0) as u32 }
    }

    #[inline(always)]
    fn end(self, what: What) -> u32 {
        match what {
            // Other programs may have their say.
            What::Pass => TC_ACT_UNSPEC as u32,
            What::Drop | What::Abort => TC_ACT_SHOT as u32,
            What::Answer => self.send(self.ifindex()),
        }
    }
}

/// The length that it is, as the verifier can see that it is one: 1 to [`TAIL`].
#[inline(always)]
fn bounded(len: u32) -> u32 {
    (len.wrapping_sub(1) & (TAIL - 1)) + 1
}

impl Tc {
    /// Makes room for `len` bytes behind the link header.
    #[inline(always)]
    fn grow(self, len: usize, flags: u32) -> Result<Bounds, Verdict> {
        self.resize(len as i32, flags)
    }

    /// As [`Self::resize`]; what is to be written there is of the EtherType `to`, and was of
    /// `from`.
    #[inline(always)]
    fn reshape(self, by: i32, from: u16, to: u16) -> Result<Bounds, Verdict> {
        let mut by = by;
        if from != to {
            // Which takes away, or puts there, what the headers of the two differ by.
            // SAFETY: the program's own context; the caller has given up its bounds.
            if unsafe { bpf_skb_change_proto(self.0, to, 0) } != 0 {
                return Err(Verdict::DropInternal);
            }
            const DIFFER: i32 = (wire::IPV6_LEN - wire::IPV4_LEN) as i32;
            by += if to == wire::ETHERTYPE_IPV6 {
                -DIFFER
            } else {
                DIFFER
            };
        }
        if by == 0 {
            return Ok(self.bounds());
        }
        self.resize(by, 0)
    }

    /// As [`Self::grow`]; or takes so many bytes away, if negative.
    #[inline(always)]
    fn resize(self, by: i32, flags: u32) -> Result<Bounds, Verdict> {
        // SAFETY: the program's own context; the caller has given up its bounds.
        if unsafe { bpf_skb_adjust_room(self.0, by, BPF_ADJ_ROOM_MAC, flags as u64) } != 0 {
            return Err(Verdict::DropInternal);
        }
        Ok(self.bounds())
    }
}
