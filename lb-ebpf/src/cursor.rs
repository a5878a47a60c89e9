//! The packet that a program was run on: everything else reads, changes and sends it
//! through a [`Cursor`], at whichever [`Hook`] that was.

use bytemuck::Pod;
use lb_common::{abi::counter::Verdict, wire::Checksummed};

use crate::{
    bounds::Bounds,
    hook::{Hook, Tail},
};

/// A packet, and where it is at the moment.
///
/// Whatever moves the packet takes the cursor and gives a new one, so that nothing
/// of it is still borrowed.
pub struct Cursor<H> {
    hook: H,
    bounds: Bounds,
}

impl<H: Hook> Cursor<H> {
    #[inline(always)]
    pub fn new(hook: H) -> Self {
        let bounds = hook.bounds();
        Self { hook, bounds }
    }

    /// The length of the frame.
    #[inline(always)]
    pub fn frame_len(&self) -> usize {
        self.hook.frame_len(self.bounds)
    }

    /// See [`Hook::segment_len`].
    #[inline(always)]
    pub fn segment_len(&self, datagram: u32, headers: u32) -> u32 {
        self.hook.segment_len(datagram, headers)
    }

    /// See [`Hook::segments`].
    #[inline(always)]
    pub fn segments(&self) -> u32 {
        self.hook.segments()
    }

    /// The kernel's index of the interface that the packet came in by.
    #[inline(always)]
    pub fn ifindex(&self) -> u32 {
        self.hook.ifindex()
    }

    /// See [`Hook::has_tag_beside`].
    #[inline(always)]
    pub fn has_tag_beside(&self) -> bool {
        self.hook.has_tag_beside()
    }

    /// See [`Hook::is_unfinished`].
    #[inline(always)]
    pub fn is_unfinished<T: Checksummed>(&mut self, l4: usize) -> Result<bool, Verdict> {
        let (unfinished, bounds) = self.hook.is_unfinished::<T>(self.bounds, l4)?;
        self.bounds = bounds;
        Ok(unfinished)
    }

    /// The header at `offset`.
    #[inline(always)]
    pub fn read<T: Pod>(&self, offset: usize) -> Result<&T, Verdict> {
        self.bounds.read(offset)
    }

    /// The header at `offset`, to change in place.
    #[inline(always)]
    pub fn header<T: Pod>(&mut self, offset: usize) -> Result<&mut T, Verdict> {
        self.bounds.header(offset)
    }

    /// See [`Hook::mend`].
    #[inline(always)]
    pub fn mend<T: Checksummed>(
        &mut self,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<(), Verdict> {
        self.bounds = self.hook.mend::<T>(self.bounds, l4, pseudo, own)?;
        Ok(())
    }

    /// See [`Hook::seal`].
    #[inline(always)]
    pub fn seal<T: Checksummed>(
        &mut self,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<(), Verdict> {
        self.bounds = self.hook.seal::<T>(self.bounds, l4, pseudo, own)?;
        Ok(())
    }

    /// See [`Hook::encapsulate`].
    #[inline(always)]
    pub fn encapsulate(mut self, l3: usize, len: usize) -> Result<Self, Verdict> {
        self.bounds = self.hook.encapsulate(self.bounds, l3, len)?;
        Ok(self)
    }

    /// See [`Hook::make_room`].
    #[inline(always)]
    pub fn make_room(mut self, l3: usize, len: usize) -> Result<Self, Verdict> {
        self.bounds = self.hook.make_room(self.bounds, l3, len)?;
        Ok(self)
    }

    /// See [`Hook::uncover`].
    #[inline(always)]
    pub fn uncover(mut self, len: usize, from: u16, to: u16) -> Result<Self, Verdict> {
        self.bounds = self.hook.uncover(self.bounds, len, from, to)?;
        Ok(self)
    }

    /// See [`Hook::cut`].
    #[inline(always)]
    pub fn cut(mut self, len: usize) -> Result<Self, Verdict> {
        self.bounds = self.hook.cut(self.bounds, len)?;
        Ok(self)
    }

    /// See [`Hook::cover`].
    #[inline(always)]
    pub fn cover(mut self, len: usize, from: u16, to: u16) -> Result<Self, Verdict> {
        self.bounds = self.hook.cover(self.bounds, len, from, to)?;
        Ok(self)
    }

    /// See [`Hook::copy`].
    #[inline(always)]
    pub fn copy(&self, at: usize, len: u32, to: &mut Tail) -> Result<(), Verdict> {
        self.hook.copy(at, len, to)
    }

    /// See [`Hook::send_copy`].
    #[inline(always)]
    pub fn send_copy(mut self, ifindex: u32) -> Result<Self, Verdict> {
        self.bounds = self.hook.send_copy(self.bounds, ifindex)?;
        Ok(self)
    }

    /// See [`Hook::end_with`].
    #[inline(always)]
    pub fn end_with(mut self, at: usize, len: u32, from: &Tail) -> Result<Self, Verdict> {
        self.bounds = self.hook.end_with(self.bounds, at, len, from)?;
        Ok(self)
    }

    /// See [`Hook::send`].
    #[inline(always)]
    pub fn send(self, ifindex: u32) -> u32 {
        self.hook.send(ifindex)
    }
}
