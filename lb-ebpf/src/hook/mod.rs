//! The hook: where in the kernel the program runs, and what it can ask for there.
//!
//! Everything above the [cursor](crate::cursor) is written over [`Hook`] and
//! compiled once for each. What is here is what hooks do differently:
//!
//! - Not the whole packet may be readable where the program finds it. A hook makes
//!   the headers readable, and says where they then are ([`Hook::bounds`]); how long
//!   the frame is, it says apart from that.
//! - A packet may be one that a device cuts into segments later: what has to fit a
//!   link is a segment ([`Hook::segment_len`]).
//! - A checksum of layer 4 may be unfinished, the device's to finish. Whoever changes
//!   what it covers says by how much and in which part, and the hook mends the field
//!   ([`Hook::mend`]); whoever writes a header anew has the hook seal it
//!   ([`Hook::seal`]).
//! - Room for headers is made by what it is for ([`Hook::encapsulate`],
//!   [`Hook::make_room`]), and taken away ([`Hook::uncover`]): the kernel may have to know. A VLAN tag may lie beside the
//!   frame instead of in it; only [`Hook::encapsulate`] has to take one off.
//! - The numbers of the actions are the hook's own ([`Hook::send`], [`Hook::end`]).
//!
//! Whatever may move the packet takes its bounds and returns new ones.

pub mod tc;
pub mod xdp;

use lb_common::{
    abi::counter::{Verdict, What},
    wire::Checksummed,
};

use crate::bounds::Bounds;

/// How much of a frame can be set aside.
pub const TAIL: u32 = 2048;
/// Room for that.
pub type Tail = [u8; TAIL as usize];

/// A packet as its hook has it.
///
/// # Safety
/// The bounds that a hook returns are those of the packet at that moment.
pub unsafe trait Hook: Copy {
    /// Whether what it sends arrives by every kind of interface.
    const REACHES_ALL: bool;

    /// Makes the headers readable.
    fn bounds(self) -> Bounds;

    /// The length of the frame, readable or not.
    fn frame_len(self, bounds: Bounds) -> usize;

    /// How long the longest IP datagram is that leaves for this one of `datagram`
    /// bytes, of which the first `headers` are before the payload.
    fn segment_len(self, datagram: u32, headers: u32) -> u32;

    /// How many segments leave for this packet.
    fn segments(self) -> u32;

    /// The kernel's index of the interface that the packet came in by.
    fn ifindex(self) -> u32;

    /// Whether a VLAN tag lies beside the frame.
    fn has_tag_beside(self) -> bool;

    /// Whether the checksum in the header of layer 4 at `l4` is the device's to finish.
    fn is_unfinished<T: Checksummed>(
        self,
        bounds: Bounds,
        l4: usize,
    ) -> Result<(bool, Bounds), Verdict>;

    /// Mends the checksum in the header of layer 4 at `l4` by the difference (see
    /// [`lb_common::checksum::difference`]) that a change has made: `pseudo` in the
    /// addresses, which only the pseudo-header has, and `own` in what follows the
    /// IP header.
    fn mend<T: Checksummed>(
        self,
        bounds: Bounds,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<Bounds, Verdict>;

    /// Writes the checksum of the header of layer 4 at `l4`, that was made anew: over a
    /// pseudo-header and a datagram with these sums. What the field holds is not
    /// among them.
    fn seal<T: Checksummed>(
        self,
        bounds: Bounds,
        l4: usize,
        pseudo: u64,
        own: u64,
    ) -> Result<Bounds, Verdict>;

    /// Puts `len` bytes for the IP header of a tunnel before the one at `l3`. What
    /// the link header holds afterwards is for the caller to write; tags are gone.
    fn encapsulate(self, bounds: Bounds, l3: usize, len: usize) -> Result<Bounds, Verdict>;

    /// Puts `len` bytes before the IP header at `l3`; the link header and its tags
    /// stay what they are.
    fn make_room(self, bounds: Bounds, l3: usize, len: usize) -> Result<Bounds, Verdict>;

    /// Takes `len` bytes behind the link header away, which has no tags. What is to be
    /// written there is of the EtherType `to`, and was of `from`.
    fn uncover(self, bounds: Bounds, len: usize, from: u16, to: u16) -> Result<Bounds, Verdict>;

    /// Cuts the frame to `len` bytes. A shorter one stays as it is.
    fn cut(self, bounds: Bounds, len: usize) -> Result<Bounds, Verdict>;

    /// Whether more can be sent than the frame that came: only there the next four are
    /// ever asked for.
    const SENDS_MORE: bool;

    /// Puts `len` bytes behind the link header, which has no tags. What is to be written
    /// there is of the EtherType `to`, and was of `from`. Unlike after
    /// [`Hook::encapsulate`], the frame can be made shorter and longer.
    fn cover(self, bounds: Bounds, len: usize, from: u16, to: u16) -> Result<Bounds, Verdict>;

    /// Copies `len` bytes of the frame, from `at` on; 1 to [`TAIL`] of them.
    fn copy(self, at: usize, len: u32, to: &mut Tail) -> Result<(), Verdict>;

    /// Sends a copy of the frame as it is now out of the interface `ifindex`.
    fn send_copy(self, bounds: Bounds, ifindex: u32) -> Result<Bounds, Verdict>;

    /// Puts `len` bytes of `from` at `at`, where the frame then ends; 1 to [`TAIL`] of them.
    fn end_with(self, bounds: Bounds, at: usize, len: u32, from: &Tail) -> Result<Bounds, Verdict>;

    /// Sends the frame as it is now out of the interface `ifindex`: the action.
    fn send(self, ifindex: u32) -> u32;

    /// The action that ends the way of a packet that is not sent on.
    fn end(self, what: What) -> u32;
}
