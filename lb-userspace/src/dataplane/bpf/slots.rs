//! The Maglev tables: built here, written whole into an inner map of their own,
//! and swapped in by one update of the outer one.
//!
//! A table is in force as soon as it is swapped in, but the call returns only a grace
//! period later: the kernel waits after any change of a map of maps. So a thread of its
//! own makes the call, and here it is seen that the new table is there, and then that
//! every program has ended that may still use the old one ([`super::passing`]): that is
//! what lets a drain be acknowledged. Where it cannot be seen, the call is waited for.
//! Many tables are put by many threads at once, and these wait together.
//!
//! Beside each table lies a mark of what it was made of, so that an agent that
//! starts again need not build what is there.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use aya::maps::{Array, Map, MapData, MapError};
use bytemuck::{cast_slice, cast_slice_mut, from_bytes};
use lb_common::{
    abi::backend::{SLOTS_LEN, Slots},
    maglev::{self, NO_BACKEND},
};

use super::{
    maps::{Maps, Tables},
    passing::Walker,
    syscall,
};
use crate::{
    dataplane::{DataplaneError, Member},
    model::{LbIndex, TableSizes},
};

type Inner = Array<MapData, Slots>;

/// What a load balancer's table is to be made of.
pub(super) type Wanted<'m> = (LbIndex, &'m [Member]);

/// So many tables are put at once. Each mostly waits for the others' CPUs to have
/// passed on; more would hold more memory than they save time.
const AT_ONCE: usize = 64;

/// How long it takes until it is looked again whether a table is there: less than that
/// takes, and more than the look.
const GLANCE: Duration = Duration::from_micros(20);

/// A call that swaps a table and then waits for a grace period.
type Swap = JoinHandle<Result<(), DataplaneError>>;

pub(super) struct MaglevTables {
    tables: Tables,
    /// The map behind `tables`, for other threads' handles of it.
    fd: OwnedFd,
    maps: Arc<Maps>,
    /// Slots of every table.
    slots: usize,
    /// The index behind the load balancers' tables, and what lies there as soon
    /// as somebody has waited.
    spare: (u32, Option<Inner>),
    walker: Walker,
    /// Who owns which slot of the table that was put last, by the mark of whom it is of:
    /// most often the next one is of the same members, one of which comes or goes.
    owners: Option<(u64, Vec<u16>)>,
    /// Of tables that are in force: there is nothing left but that they return.
    returning: Vec<Swap>,
}

impl MaglevTables {
    pub(super) fn new(
        (tables, fd): (Tables, OwnedFd),
        maps: Arc<Maps>,
        sizes: &TableSizes,
    ) -> Self {
        Self {
            tables,
            fd,
            maps,
            slots: (sizes.maglev as usize).clamp(2, maglev::MAX_SLOTS),
            spare: (sizes.load_balancers, None),
            walker: Walker::new(),
            owners: None,
            returning: Vec::new(),
        }
    }

    pub(super) fn slots(&self) -> u32 {
        self.slots as u32
    }

    /// Builds tables and swaps them in, but for those that are there already.
    /// Returns the load balancers whose table was swapped: if there is one, no
    /// packet in flight uses an older table or flag.
    pub(super) fn put(&mut self, wanted: &[Wanted<'_>]) -> Result<Vec<LbIndex>, DataplaneError> {
        let mut new = Vec::new();
        for (lb, members) in wanted {
            let mark = mark(members, self.slots);
            let index = u32::from(*lb);
            if self.maps.table_marks.at(index)? != mark {
                // Until the table is there, nothing says what it is.
                self.maps.table_marks.put(&index, &0)?;
                new.push((*lb, *members, mark));
            }
        }
        match &*new {
            [] => {}
            [(lb, members, mark)] => {
                let whom = mark_of_owners(members, self.slots);
                let owners = match self.owners.take() {
                    Some((of, owners)) if of == whom => owners,
                    _ => owners(members, self.slots),
                };
                let table = build(*lb, members, &owners);
                self.owners = Some((whom, owners));
                self.put_alone(*lb, table?)?;
                self.maps.table_marks.put(&u32::from(*lb), mark)?;
            }
            many => put_many(&self.fd, many, |tables, (lb, members, mark)| {
                let table = build(*lb, members, &owners(members, self.slots))?;
                swap(tables, (*lb).into(), &table)?;
                Ok(self.maps.table_marks.put(&u32::from(*lb), mark)?)
            })?,
        }
        Ok(new.into_iter().map(|(lb, ..)| lb).collect())
    }

    /// Swaps one table in. Returns when no program uses the one before.
    fn put_alone(&mut self, lb: LbIndex, table: Inner) -> Result<(), DataplaneError> {
        let index = u32::from(lb);
        let before = self.number_of(index)?;
        let mut tables = another_handle(&self.fd)?;
        let call = thread::Builder::new()
            .name("ebb-swap".to_owned())
            .spawn(move || swap(&mut tables, index, &table))
            .map_err(|source| DataplaneError::Kernel {
                action: "to start a thread".to_owned(),
                source,
            })?;
        // Numbers are not used again while the map that has one is in the array.
        while !call.is_finished() && self.number_of(index)? == before {
            thread::sleep(GLANCE);
        }
        if call.is_finished() || !self.walker.saw_all_pass() {
            return returned(call);
        }
        self.returning.push(call);
        // Those that are the first to return, and more of them than may be under way.
        let surplus = self.returning.len().saturating_sub(AT_ONCE);
        let over = self.returning.iter().take_while(|call| call.is_finished());
        let over = over.count().max(surplus);
        self.returning.drain(..over).try_for_each(returned)
    }

    /// The kernel's number of the table that is in force; `None`: there is none yet.
    fn number_of(&self, index: u32) -> Result<Option<u32>, DataplaneError> {
        // SAFETY: `maps::tables` has found an array of maps behind this descriptor: its
        // keys are indices of four bytes, and what is read is a map's number, as long.
        let number = unsafe { syscall::lookup_one::<u32, u32>(self.fd.as_fd(), &index) };
        number.map_err(|source| DataplaneError::Kernel {
            action: format!("to look for the Maglev table of load balancer {index}"),
            source,
        })
    }

    pub(super) fn remove(&mut self, lb: LbIndex) -> Result<(), DataplaneError> {
        // A table that leads nowhere: aya cannot delete from an array of maps,
        // and an empty element would mean the same.
        self.put(&[(lb, &[])]).map(drop)
    }

    /// Waits until no packet in flight goes by what was written before: sees them
    /// pass, or swaps the table that no packet is looked up in. (To read the element of
    /// another one would take `CAP_SYS_ADMIN`.)
    pub(super) fn wait(&mut self) -> Result<(), DataplaneError> {
        if self.walker.saw_all_pass() {
            return Ok(());
        }
        let failed = |error| failed("swap", self.spare.0, error);
        if self.spare.1.is_none() {
            self.spare.1 = Some(Inner::create(1, 0).map_err(failed)?);
        }
        match &self.spare {
            (index, Some(inner)) => swap(&mut self.tables, *index, inner),
            (_, None) => Ok(()),
        }
    }
}

fn put_many<T: Sync>(
    fd: &OwnedFd,
    many: &[T],
    put: impl Fn(&mut Tables, &T) -> Result<(), DataplaneError> + Sync,
) -> Result<(), DataplaneError> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut tables = another_handle(fd)?;
        while let Some(one) = many.get(next.fetch_add(1, Ordering::Relaxed)) {
            put(&mut tables, one)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..many.len().min(AT_ONCE))
            .map(|_| scope.spawn(work))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            })
    })
}

/// aya's handle wants to be had alone.
fn another_handle(fd: &OwnedFd) -> Result<Tables, DataplaneError> {
    let failed = |source| DataplaneError::Kernel {
        action: "to open the Maglev tables once more".to_owned(),
        source,
    };
    let fd = fd.try_clone().map_err(failed)?;
    let tables = MapData::from_fd(fd)
        .and_then(Map::from_map_data)
        .and_then(Tables::try_from);
    tables.map_err(|error| failed(std::io::Error::other(error)))
}

/// What the call of a thread returned.
fn returned(call: Swap) -> Result<(), DataplaneError> {
    match call.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// A table of its own, not in force yet.
fn build(lb: LbIndex, members: &[Member], owners: &[u16]) -> Result<Inner, DataplaneError> {
    // Words of eight bytes, for the alignment of the map's value.
    let mut words = vec![0_u64; SLOTS_LEN / 4];
    fill(members, owners, cast_slice_mut(&mut words));
    let failed = |error| failed("fill", lb.into(), error);
    let mut inner = Inner::create(1, 0).map_err(failed)?;
    let slots: &Slots = from_bytes(cast_slice(&words));
    inner.set(0, slots, 0).map_err(failed)?;
    Ok(inner)
}

fn swap(tables: &mut Tables, index: u32, inner: &Inner) -> Result<(), DataplaneError> {
    tables
        .set(index, inner, 0)
        .map_err(|error| failed("swap", index, error))
}

/// What a table is made of, in a number that is not 0. The hash need not be the
/// same for another agent: then the table is built once more.
fn mark(members: &[Member], slots: usize) -> u64 {
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    let mut hasher = DefaultHasher::new();
    slots.hash(&mut hasher);
    for member in members {
        let Member {
            backend,
            id,
            weight,
            in_service,
        } = member;
        (backend, id, weight, in_service).hash(&mut hasher);
    }
    hasher.finish().max(1)
}

fn failed(what: &str, lb: u32, error: MapError) -> DataplaneError {
    DataplaneError::Kernel {
        action: format!("to {what} the Maglev table of load balancer {lb}"),
        source: match error {
            MapError::IoError(error) => error,
            MapError::SyscallError(error) => error.io_error,
            other => std::io::Error::other(other),
        },
    }
}

/// What the owners of a table's slots follow from, in a number: its members, in service
/// or not.
fn mark_of_owners(members: &[Member], slots: usize) -> u64 {
    let members: Vec<_> = members
        .iter()
        .map(|member| Member {
            in_service: true,
            ..member.clone()
        })
        .collect();
    mark(&members, slots)
}

/// Who owns which slot, in service or not.
fn owners(members: &[Member], slots: usize) -> Vec<u16> {
    // The order is part of the result, and must be the same on every node.
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    let mut permutations: Vec<_> = members
        .iter()
        .map(|m| maglev::Member::new(m.backend, m.id.as_bytes(), m.weight, slots))
        .collect();
    let mut owners = vec![NO_BACKEND; slots];
    maglev::populate(&mut permutations, &mut owners);
    owners
}

/// The table for these members, with as many slots as there are owners, in the first
/// elements of `table`; what is beyond leads nowhere.
fn fill(members: &[Member], owners: &[u16], table: &mut [u16]) {
    // By index: it is asked once for every slot.
    let mut in_service = vec![false; usize::from(NO_BACKEND) + 1];
    for member in members.iter().filter(|m| m.in_service) {
        in_service[usize::from(member.backend)] = true;
    }
    let (used, beyond) = table.split_at_mut(owners.len());
    maglev::refill(owners, |b| in_service[usize::from(b)], used);
    beyond.fill(NO_BACKEND);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(backend: u16, in_service: bool) -> Member {
        Member {
            backend,
            id: format!("web-{backend}"),
            weight: 1,
            in_service,
        }
    }

    fn table(members: &[Member]) -> Vec<u16> {
        let mut table = vec![0; SLOTS_LEN];
        fill(members, &owners(members, 251), &mut table);
        table
    }

    #[test]
    fn the_order_of_the_members_does_not_matter() {
        let (a, b, c) = (member(1, true), member(2, true), member(3, false));
        assert_eq!(table(&[a.clone(), b.clone(), c.clone()]), table(&[c, a, b]));
    }

    #[test]
    fn a_mark_says_what_a_table_is_made_of() {
        let (a, b) = (member(1, true), member(2, true));
        let both = [a.clone(), b.clone()];
        assert_eq!(mark(&both, 251), mark(&[b.clone(), a.clone()], 251));
        let out = Member {
            in_service: false,
            ..b.clone()
        };
        let heavy = Member { weight: 2, ..b };
        for other in [
            mark(&both, 241),
            mark(&[a.clone(), out], 251),
            mark(&[a.clone(), heavy], 251),
            mark(&[a], 251),
            mark(&[], 251),
            0,
        ] {
            assert_ne!(mark(&both, 251), other);
        }
    }

    #[test]
    fn only_members_in_service_get_slots_and_the_rest_lead_nowhere() {
        let table = table(&[member(1, true), member(2, false)]);
        assert!(table[..251].iter().all(|b| *b == 1));
        assert!(table[251..].iter().all(|b| *b == NO_BACKEND));
    }

    #[test]
    fn a_table_without_members_leads_nowhere() {
        assert!(table(&[]).iter().all(|b| *b == NO_BACKEND));
        assert!(table(&[member(1, false)]).iter().all(|b| *b == NO_BACKEND));
    }
}
