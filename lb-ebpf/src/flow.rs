//! Entries of the flow tables, and their life.

use aya_ebpf::bindings::BPF_ANY;
use lb_common::{
    abi::{
        backend::Backend,
        counter::{BackendCounters, Verdict},
        flow::{self, Flow, FlowKey, Ports},
    },
    tcp::{self, Numbers},
    wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use crate::{atomic, family::Family, maps, packet::Packet};

/// An entry of a flow table, in place.
///
/// Other CPUs may work on the same entry. Each field is one aligned word; what
/// two CPUs write at once (times, sequence numbers, byte counts) is as good from
/// either. `state` alone decides something, and is changed atomically.
#[derive(Clone, Copy)]
pub(crate) struct Entry<A: Family>(*mut Flow<A>);

impl<A: Family> Entry<A> {
    #[inline(always)]
    pub(crate) fn established(key: &FlowKey<A>) -> Option<Self> {
        A::flows().get_ptr_mut(key).map(Self)
    }

    /// `entry` is of one of the tables.
    #[inline(always)]
    pub(crate) fn new(entry: *mut Flow<A>) -> Self {
        Self(entry)
    }

    /// A field, as it is now.
    #[inline(always)]
    pub(crate) fn get<T: Copy>(self, field: impl FnOnce(&Flow<A>) -> T) -> T {
        // SAFETY: a map value stays mapped while the program runs, even when
        // its entry is deleted; see the type for concurrent writes.
        field(unsafe { &*self.0 })
    }

    /// Copies all of it.
    #[inline(always)]
    pub(crate) fn copy_to(self, to: &mut Flow<A>) {
        // SAFETY: as in `get`.
        unsafe { copy(self.0, to) }
    }

    #[inline(always)]
    fn set(self, change: impl FnOnce(&mut Flow<A>)) {
        // SAFETY: as in `get`.
        change(unsafe { &mut *self.0 });
    }

    #[inline(always)]
    pub(crate) fn state(self) -> u32 {
        self.get(|f| f.state)
    }

    #[inline(always)]
    pub(crate) fn is_reply(self) -> bool {
        self.state() & flow::REPLY != 0
    }

    #[inline(always)]
    pub(crate) fn backend(self) -> Result<&'static Backend, Verdict> {
        maps::BACKENDS
            .get(self.get(|f| f.backend) as u32)
            .ok_or(Verdict::DropInternal)
    }

    /// When the flow began.
    #[inline(always)]
    pub(crate) fn born(self) -> u32 {
        self.get(|f| f.born)
    }

    /// Ticks since a packet of this direction was seen.
    #[inline(always)]
    pub(crate) fn silent(self, now: u32) -> u32 {
        now.wrapping_sub(self.get(|f| f.seen))
    }

    /// Of the same flow as an entry of the other direction: tuples are used again.
    #[inline(always)]
    pub(crate) fn is_of(self, other: Self) -> bool {
        self.born() == other.born() && self.get(|f| f.backend) == other.get(|f| f.backend)
    }

    /// A conversation (UDP) whose client has sent its first datagram only.
    #[inline(always)]
    pub(crate) fn is_one_datagram(self, protocol: u32) -> bool {
        protocol == wire::UDP as u32 && self.get(|f| f.bytes == f.seq as u64)
    }

    /// The flow was taken from its backend, by a new epoch.
    #[inline(always)]
    pub(crate) fn is_disowned(self, backend: &Backend) -> bool {
        self.get(|f| f.epoch) != backend.epoch
    }

    /// What is known of the numbers of this direction.
    #[inline(always)]
    pub(crate) fn numbers(self) -> Numbers {
        self.get(|f| Numbers {
            seq: f.seq,
            ack: f.ack,
        })
    }

    #[inline(always)]
    pub(crate) fn set_numbers(self, numbers: Numbers) {
        self.set(|f| {
            f.seq = numbers.seq;
            f.ack = numbers.ack;
        });
    }

    /// Whether the packet goes on where this direction has been. UDP has nothing
    /// to tell that by.
    #[inline(always)]
    pub(crate) fn fits(self, packet: &Packet<A>) -> bool {
        !packet.is_tcp() || packet.has_l4 && self.numbers().fits(packet.segment)
    }

    /// Whether `number` may be the next that the receiver of this direction expects.
    #[inline(always)]
    pub(crate) fn has_sent(self, number: u32) -> bool {
        self.get(|f| tcp::is_sent(number, f.seq, f.bytes))
    }

    /// Notes a packet of this direction that is believed.
    #[inline(always)]
    pub(crate) fn note(self, packet: &Packet<A>, now: u32) {
        self.set(|f| {
            f.seen = now;
            f.bytes += packet.len as u64;
        });
        if packet.is_tcp() && !packet.has(tcp::SYN) {
            self.set_numbers(self.numbers().with(packet.segment));
        }
    }

    /// The SYN counts that came last: what was before it is forgotten.
    #[inline(always)]
    pub(crate) fn restart(self, packet: &Packet<A>) {
        self.set(|f| {
            f.seq = packet.segment.next_seq;
            f.bytes = 0;
        });
    }

    /// Where the client was last heard of, and the way out there.
    #[inline(always)]
    pub(crate) fn set_client(self, mac: wire::Mac, exit: u16) {
        self.set(|f| {
            f.client_mac = mac;
            f.exit = exit;
        });
    }

    /// Adds bits to the state and returns what it was.
    #[inline(always)]
    pub(crate) fn add_state(self, bits: u32) -> u32 {
        let shift = if cfg!(target_endian = "little") {
            0
        } else {
            32
        };
        // SAFETY: `state` and `epoch` are the first, aligned word of the value;
        // the epoch is not written after the entry is in the map.
        (unsafe { atomic::fetch_or(self.0.cast(), (bits as u64) << shift) } >> shift) as u32
    }

    /// Takes bits out of the state, unless it changes just now.
    #[inline(always)]
    pub(crate) fn drop_state(self, bits: u32) {
        let word = self.0.cast::<u64>();
        let shift = if cfg!(target_endian = "little") {
            0
        } else {
            32
        };
        // SAFETY: as in `add_state`.
        unsafe {
            let old = word.read_volatile();
            atomic::exchange(word, old, old & !((bits as u64) << shift));
        }
    }

    /// Writes the key of the entry for the other direction (nat only).
    #[inline(always)]
    pub(crate) fn other_key(
        self,
        key: &FlowKey<A>,
        backend: &Backend,
        other: &mut FlowKey<A>,
    ) -> Result<(), Verdict> {
        let (peer, ports) = self.target();
        *other = if self.is_reply() {
            let listener = A::listeners()
                .get(self.get(|f| f.listener) as u32)
                .ok_or(Verdict::DropInternal)?;
            FlowKey {
                source: peer,
                destination: listener.address,
                ports: ports.swapped(),
                protocol: key.protocol,
            }
        } else {
            reply_key(A::from_words(backend.address), peer, ports, key.protocol)
        };
        Ok(())
    }

    /// What nat writes into a packet of this direction.
    #[inline(always)]
    pub(crate) fn target(self) -> (A, Ports) {
        self.get(|f| (f.peer, f.ports))
    }
}

/// Copies an entry word by word: left to itself, the compiler calls a function that goes
/// byte by byte.
///
/// # Safety
/// `from` is valid for reads; what others write to it meanwhile may be copied or not.
#[inline(always)]
pub(crate) unsafe fn copy<A: Family>(from: *const Flow<A>, to: &mut Flow<A>) {
    const { assert!(size_of::<Flow<A>>().is_multiple_of(8) && align_of::<Flow<A>>() == 8) };
    let (from, to) = (from.cast::<u64>(), (&raw mut *to).cast::<u64>());
    for word in 0..size_of::<Flow<A>>() / 8 {
        // SAFETY: a word of each; a flow is plain data, so any bytes make one.
        unsafe { to.add(word).write(from.add(word).read_volatile()) }
    }
}

/// The tuple of a backend's packets, where nat writes `ports` and `source` into
/// the client's.
#[inline(always)]
pub(crate) fn reply_key<A: Family>(
    backend: A,
    source: A,
    ports: Ports,
    protocol: u32,
) -> FlowKey<A> {
    FlowKey {
        source: backend,
        destination: source,
        ports: ports.swapped(),
        protocol,
    }
}

/// Puts an entry into the table of established flows; false if that is full.
#[inline(always)]
pub(crate) fn establish<A: Family>(key: &FlowKey<A>, value: &Flow<A>) -> bool {
    A::flows().insert(key, value, BPF_ANY as u64).is_ok()
}

/// What a packet is on the wire, cut into segments if it will be.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    packets: u64,
    bytes: u64,
}

impl Load {
    #[inline(always)]
    pub(crate) fn of<H: Hook, A: Family>(cursor: &Cursor<H>, packet: &Packet<A>) -> Self {
        let packets = cursor.segments() as u64;
        // Every segment has headers of its own.
        let more = (packets - 1) * packet.headers_len() as u64;
        Self {
            packets,
            bytes: packet.len as u64 + more,
        }
    }
}

/// Counts a packet from a client, and so as forwarded.
#[inline(always)]
pub(crate) fn count_in(backend: u16, load: Load) {
    count(backend, |row| {
        row.packets_in += load.packets;
        row.bytes_in += load.bytes;
    });
}

/// Counts a packet from a backend, and so as forwarded.
#[inline(always)]
pub(crate) fn count_out(backend: u16, load: Load) {
    count(backend, |row| {
        row.packets_out += load.packets;
        row.bytes_out += load.bytes;
    });
}

/// A change to the row of a backend.
#[inline(always)]
pub(crate) fn count(backend: u16, change: impl FnOnce(&mut BackendCounters)) {
    if let Some(row) = maps::BACKEND_COUNTERS.get_ptr_mut(backend as u32) {
        // SAFETY: this CPU's own row; XDP is not preempted by itself.
        change(unsafe { &mut *row });
    }
}
