//! The ports of nat, as the agent works on them: in its own memory, beside the kernel
//! program. [`lb_common::abi::nat_port`] says what they are.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use aya::maps::Map;
use lb_common::abi::{
    address::Address,
    config::Settings,
    flow::{ANSWERED, FlowKey, HALF_OPEN},
    nat_port::{self, Class, PROBES, ROW_LEN, Row, Words, bound, count_word, owner_word},
};

use super::table::{OpenError, Shared, Table, TableError};

/// A port by its row and its place there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Port {
    pub(super) row: u32,
    pub(super) place: u32,
}

/// Places by bits.
pub(super) type Bits = Vec<u64>;

/// All rows.
pub(super) struct NatPorts {
    rows: Shared,
    /// The same, to be read and written whole: what is touched in this process's memory
    /// counts as its own.
    whole: Table<u32, Row>,
    /// Set once, before anybody asks.
    prepared: OnceLock<Prepared>,
}

/// What does not change while the agent runs.
struct Prepared {
    settings: Settings,
    /// A row of which nobody has a port.
    blank: Box<Row>,
}

/// A row in this process's memory.
struct Mapped<'r>(&'r [AtomicU64]);

impl Words for Mapped<'_> {
    fn load(&self, at: u32) -> u64 {
        self.0[at as usize].load(Ordering::SeqCst)
    }
    fn set(&self, at: u32, bits: u64) -> u64 {
        self.0[at as usize].fetch_or(bits, Ordering::SeqCst)
    }
    fn clear(&self, at: u32, bits: u64) -> u64 {
        self.0[at as usize].fetch_and(!bits, Ordering::SeqCst)
    }
    fn write_cursor(&self, cursor: u64) {
        self.0[0].store(cursor, Ordering::Relaxed);
    }
    fn take_over(&self, owner: u64) -> bool {
        let (success, failure) = (Ordering::SeqCst, Ordering::Relaxed);
        let word = &self.0[owner_word()];
        word.compare_exchange(0, owner, success, failure).is_ok()
    }
    fn count_bound(&self, more: u64) {
        self.0[count_word()].fetch_add(more, Ordering::SeqCst);
    }
}

impl NatPorts {
    pub(super) fn open(map: &Map, name: &'static str) -> Result<Self, OpenError> {
        Ok(Self {
            rows: Shared::open::<Row>(map, name)?,
            whole: Table::open(map, name)?,
            prepared: OnceLock::new(),
        })
    }

    fn prepared(&self) -> &Prepared {
        self.prepared.get().expect("`prepare` comes first")
    }

    fn settings(&self) -> &Settings {
        &self.prepared().settings
    }

    pub(super) fn len(&self) -> u32 {
        self.rows.len()
    }

    /// Makes the rows those of these settings, if they are of the `known` ones: then what open
    /// flows have is to be bound again. Comes before everything else.
    pub(super) fn prepare(
        &self,
        settings: &Settings,
        known: &Settings,
    ) -> Result<bool, TableError> {
        let Settings {
            nat_port_first: first,
            nat_port_last: last,
            nat_seed: seed,
            ..
        } = *settings;
        let prepared = self.prepared.get_or_init(|| Prepared {
            settings: *settings,
            blank: Box::new(Row(nat_port::blank(first, last, seed))),
        });
        if (known.nat_port_first, known.nat_port_last, known.nat_seed) == (first, last, seed) {
            return Ok(false);
        }
        for index in 0..self.len() {
            self.whole.put(&index, &prepared.blank)?;
        }
        Ok(true)
    }

    /// A flow has its port, by the tuple of its backend's packets and the state of its entry
    /// under that.
    pub(super) fn bind<A: Address>(&self, reply: &FlowKey<A>, state: u32) {
        let class = match (state & HALF_OPEN, state & ANSWERED) {
            (0, _) => Class::Open,
            (_, 0) => Class::Unanswered,
            _ => Class::Answered,
        };
        self.put(self.of(reply), class);
    }

    /// The port of a flow, by the tuple of its backend's packets.
    pub(super) fn of<A: Address>(&self, reply: &FlowKey<A>) -> Port {
        let seed = self.settings().nat_seed;
        let owner = nat_port::owner(reply, seed);
        let mut rows = (0..PROBES).map(|probe| owner.row(probe, self.len()));
        let own = rows.find(|row| owner.has(&self.row(*row)));
        Port {
            row: own.unwrap_or_else(|| owner.row(0, self.len())),
            place: nat_port::place(reply.ports.destination(), seed),
        }
    }

    /// The port's flow is gone. One that nobody is to have any more is not free for that.
    pub(super) fn free(&self, port: Port) {
        let settings = self.settings();
        let number = nat_port::port(port.place, settings.nat_seed);
        if (settings.nat_port_first..=settings.nat_port_last).contains(&number) {
            self.put(port, Class::Free);
        }
    }

    fn put(&self, port: Port, class: Class) {
        nat_port::put(&self.row(port.row), port.place, class);
    }

    fn row(&self, row: u32) -> Mapped<'_> {
        Mapped(&self.rows.words()[row as usize * ROW_LEN..][..ROW_LEN])
    }

    /// Nobody has a port of this row any more: whoever needs one next may have it.
    pub(super) fn leave(&self, row: u32) {
        self.row(row).0[owner_word()].store(0, Ordering::SeqCst);
    }

    /// Whether so many of a row's ports are bound that they are wanted back: half of them,
    /// and until it is less than a quarter, so that it does not change all the time.
    pub(super) fn is_crowded(&self, row: u32, was: bool) -> bool {
        let bound = self.row(row).0[count_word()].load(Ordering::Relaxed);
        let part = if was { 4 } else { 2 };
        bound >= u64::from(self.span()).div_ceil(part)
    }

    /// Which ports of a row are bound.
    pub(super) fn bound(&self, row: u32) -> Bits {
        let words = &self.row(row).0[bound()];
        words
            .iter()
            .map(|word| word.load(Ordering::SeqCst))
            .collect()
    }

    /// The rows that are somebody's.
    pub(super) fn in_use(&self) -> Result<Vec<u32>, TableError> {
        let mut rows = Vec::new();
        for row in 0..self.len() {
            let Row(words) = self.whole.at(row)?;
            if words[owner_word()] != 0 {
                rows.push(row);
            }
        }
        Ok(rows)
    }

    /// Which ports of a row nobody can have.
    pub(super) fn blank(&self) -> &[u64] {
        &self.prepared().blank.0[bound()]
    }

    /// How many ports a row has.
    pub(super) fn span(&self) -> u32 {
        let settings = self.settings();
        u32::from(settings.nat_port_last - settings.nat_port_first) + 1
    }
}
