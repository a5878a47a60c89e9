//! Takes flows out of the tables: both entries, the books, and a word to both
//! ends.
//!
//! The kernel program works on the same entries. Who takes the forward entry
//! away decides who counts the flow as closed: deleting and learning what was
//! deleted is one step, here as in the program.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    super::{
        half_open::HalfOpen,
        maps::{Family, FlowTable, Maps},
        nat_ports::Port,
        reset::{Flows, Frame},
        table::{TableError, Walk},
    },
    decide::Stage,
    farewell::{Farewells, Taken},
};
use crate::model::{BackendIndex, Epoch};
use lb_common::{
    abi::{
        backend::{Backend, REACHABLE},
        exit::Exit,
        flow::{ANSWERED, Flow, FlowKey, KEEPS_SOURCE, NAT, SETTLED, TIME_WAIT},
        vip::Listener,
    },
    tcp::CLOSED,
    wire,
};

/// What the ends hear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Farewell {
    Silent,
    Reset,
}

/// How many frames are held back before they are sent.
const FRAMES: usize = 512;

pub(super) struct Closer {
    maps: Arc<Maps>,
    farewells: Farewells,
    /// What was taken out and is not yet told.
    taken: Taken,
    /// Rows that were read since the last was handed over.
    backends: BTreeMap<BackendIndex, Backend>,
    exits: BTreeMap<u16, Exit>,
}

impl Closer {
    pub(super) fn new(maps: Arc<Maps>) -> io::Result<Self> {
        Ok(Self {
            farewells: Farewells::start(Arc::clone(&maps))?,
            maps,
            taken: Taken::default(),
            backends: BTreeMap::new(),
            exits: BTreeMap::new(),
        })
    }

    pub(super) fn maps(&self) -> &Arc<Maps> {
        &self.maps
    }

    /// The epoch of a backend in the kernel at this moment.
    pub(super) fn epoch(&self, backend: BackendIndex) -> Result<Epoch, TableError> {
        Ok(self.maps.backends.at(u32::from(backend))?.epoch)
    }

    /// Takes the flow out of the table, if it is still the one that was `seen`
    /// there. True if it was open, and so counts as closed now.
    pub(super) fn close<A: Family>(
        &mut self,
        stage: Stage,
        key: &FlowKey<A>,
        seen: &Flow<A>,
        farewell: Farewell,
    ) -> Result<bool, TableError> {
        let maps = Arc::clone(&self.maps);
        let entries = entries::<A>(&maps, stage);
        let Some(forward) = entries.take_same(key, seen)? else {
            return Ok(false);
        };
        let mut reply = None;
        if forward.state & NAT != 0 {
            let backend = self.backend(forward.backend)?;
            let reply_key = reply_key(key, &forward, &backend);
            reply = entries.take_same(&reply_key, &forward)?;
            if reply.is_some() && forward.state & KEEPS_SOURCE == 0 {
                self.taken.ports.push(maps.nat_ports.of(&reply_key));
            }
        }
        let was_open = stage == Stage::Established && forward.state & CLOSED == 0;
        if was_open {
            *self.taken.closed.entry(forward.backend).or_default() += 1;
        }
        let flows = Flows {
            key,
            forward: &forward,
            reply: reply.as_ref(),
        };
        if was_open && farewell == Farewell::Reset && key.protocol == u32::from(wire::TCP) {
            self.reset_client(&flows)?;
            let frames = self.resets_for_backend(&flows)?;
            self.taken.frames.extend(frames);
        }
        let began = stage == Stage::HalfOpen && reply.is_some_and(|r| r.state & ANSWERED != 0);
        let is_remembered = began || forward.state & (CLOSED | TIME_WAIT) == CLOSED | TIME_WAIT;
        let is_ours = forward.state & KEEPS_SOURCE == 0;
        if is_ours && is_remembered && key.protocol == u32::from(wire::TCP) {
            // The next flow on this port is to find nothing there of this one.
            let frames = self.resets_for_backend(&flows)?;
            self.taken.reminders.extend(frames);
        }
        if self.taken.frames.len() >= FRAMES {
            self.farewells.tell(std::mem::take(&mut self.taken));
        }
        Ok(was_open)
    }

    /// Marks the flow as ended; its entry lingers, so that a late packet finds
    /// its way.
    ///
    /// An entry can only be written whole from here, so what the program writes
    /// in the same microsecond is lost. The flow has been silent for a while,
    /// and nothing but its times and numbers is at stake.
    pub(super) fn settle<A: Family>(
        &mut self,
        key: &FlowKey<A>,
        fresh: &Flow<A>,
    ) -> Result<(), TableError> {
        let mut settled = *fresh;
        settled.state |= CLOSED | SETTLED;
        let maps = Arc::clone(&self.maps);
        if A::maps(&maps).flows.replace(key, &settled)? {
            *self.taken.closed.entry(fresh.backend).or_default() += 1;
        }
        Ok(())
    }

    /// Enters flows into the books as closed that are in no table any more.
    pub(super) fn note(&mut self, backend: BackendIndex, flows: u64) -> Result<(), TableError> {
        *self.taken.closed.entry(backend).or_default() += flows;
        self.flush()
    }

    /// Deletes a reply entry that has lost its forward entry.
    pub(super) fn delete_orphan<A: Family>(
        &self,
        stage: Stage,
        key: &FlowKey<A>,
        seen: &Flow<A>,
    ) -> Result<(), TableError> {
        let entries = entries::<A>(&self.maps, stage);
        if entries.take_same(key, seen)?.is_some() && seen.state & KEEPS_SOURCE == 0 {
            self.maps.nat_ports.free(self.maps.nat_ports.of(key));
        }
        Ok(())
    }

    /// The port of a nat flow, by its forward entry.
    pub(super) fn port_of<A: Family>(
        &mut self,
        key: &FlowKey<A>,
        forward: &Flow<A>,
    ) -> Result<Port, TableError> {
        let backend = self.backend(forward.backend)?;
        Ok(self.maps.nat_ports.of(&reply_key(key, forward, &backend)))
    }

    /// The tuple of the forward entry that belongs to a reply entry.
    pub(super) fn forward_key<A: Family>(
        &self,
        key: &FlowKey<A>,
        reply: &Flow<A>,
    ) -> Result<FlowKey<A>, TableError> {
        let listeners = &A::maps(&self.maps).listeners;
        let Listener { address, .. } = listeners.at(u32::from(reply.listener))?;
        Ok(FlowKey {
            source: reply.peer,
            destination: address,
            ports: reply.ports.swapped(),
            protocol: key.protocol,
        })
    }

    /// The reply entry of a nat flow, if it is there.
    pub(super) fn reply_of<A: Family>(
        &mut self,
        stage: Stage,
        key: &FlowKey<A>,
        forward: &Flow<A>,
    ) -> Result<Option<Flow<A>>, TableError> {
        let backend = self.backend(forward.backend)?;
        let reply = entries::<A>(&self.maps, stage).get(&reply_key(key, forward, &backend))?;
        Ok(reply.filter(|reply| same(reply, forward)))
    }

    /// Has what was taken out told to its ends and noted in the books, in a moment.
    pub(super) fn hand_over(&mut self) {
        self.farewells.tell(std::mem::take(&mut self.taken));
        self.backends.clear();
        self.exits.clear();
    }

    /// As above, and returns when that is done.
    pub(super) fn flush(&mut self) -> Result<(), TableError> {
        self.hand_over();
        self.farewells.wait()
    }

    fn reset_client<A: Family>(&mut self, flows: &Flows<'_, A>) -> Result<(), TableError> {
        let exit = self.exit(flows.forward.exit)?;
        if exit.ifindex != 0 {
            self.taken.frames.extend(flows.to_client(&exit));
        }
        Ok(())
    }

    /// The RSTs for the backend, if there is a way there.
    fn resets_for_backend<A: Family>(
        &mut self,
        flows: &Flows<'_, A>,
    ) -> Result<Vec<Frame>, TableError> {
        let backend = self.backend(flows.forward.backend)?;
        if backend.flags & REACHABLE == 0 {
            return Ok(Vec::new());
        }
        Ok(flows.to_backend(&backend).collect())
    }

    fn backend(&mut self, index: BackendIndex) -> Result<Backend, TableError> {
        if let Some(row) = self.backends.get(&index) {
            return Ok(*row);
        }
        let row = self.maps.backends.at(u32::from(index))?;
        self.backends.insert(index, row);
        Ok(row)
    }

    fn exit(&mut self, number: u16) -> Result<Exit, TableError> {
        if let Some(row) = self.exits.get(&number) {
            return Ok(*row);
        }
        let row = self.maps.exits.at(u32::from(number))?;
        self.exits.insert(number, row);
        Ok(row)
    }
}

/// Where the flows of a stage lie.
pub(super) enum Entries<'m, A: Family> {
    HalfOpen(&'m HalfOpen<A>),
    Established(&'m FlowTable<A>),
}

pub(super) fn entries<A: Family>(maps: &Maps, stage: Stage) -> Entries<'_, A> {
    let family = A::maps(maps);
    match stage {
        Stage::HalfOpen => Entries::HalfOpen(&family.half_open),
        Stage::Established => Entries::Established(&family.flows),
    }
}

impl<A: Family> Entries<'_, A> {
    pub(super) fn get(&self, key: &FlowKey<A>) -> Result<Option<Flow<A>>, TableError> {
        match self {
            Self::HalfOpen(table) => table.get(key),
            Self::Established(table) => table.get(key),
        }
    }

    /// Reads the next batch of a walk.
    pub(super) fn read(&self, walk: &mut Walk<FlowKey<A>, Flow<A>>) -> Result<(), TableError> {
        match self {
            Self::HalfOpen(table) => {
                table.read(walk);
                Ok(())
            }
            Self::Established(table) => table.read(walk).map(drop),
        }
    }

    /// Takes the entry of the flow that was `seen` out; one of another flow stays.
    fn take_same(&self, key: &FlowKey<A>, seen: &Flow<A>) -> Result<Option<Flow<A>>, TableError> {
        match self {
            Self::HalfOpen(table) => table.take_if(key, |found| same(found, seen)),
            Self::Established(table) => match table.take(key)? {
                Some(taken) if !same(&taken, seen) => {
                    table.restore(key, &taken)?;
                    Ok(None)
                }
                taken => Ok(taken),
            },
        }
    }
}

/// Whether two readings are of the same flow, or of its two directions: tuples
/// are used again.
pub(super) fn same<A: Family>(a: &Flow<A>, b: &Flow<A>) -> bool {
    (a.born, a.backend, a.epoch) == (b.born, b.backend, b.epoch)
}

/// The tuple of the backend's packets.
fn reply_key<A: Family>(key: &FlowKey<A>, forward: &Flow<A>, backend: &Backend) -> FlowKey<A> {
    FlowKey {
        source: A::from_words(backend.address),
        destination: forward.peer,
        ports: forward.ports.swapped(),
        protocol: key.protocol,
    }
}
