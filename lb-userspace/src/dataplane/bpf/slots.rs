//! The Maglev tables: built here, written whole into an inner map of their own,
//! and swapped in by one update of the outer one.
//!
//! That update returns when every program that may still use the old table has
//! ended (the kernel waits for a grace period after any change of a map of
//! maps). It is what lets a drain be acknowledged: see [`MaglevTables::wait`].

use std::collections::BTreeMap;

use aya::maps::{Array, MapData, MapError};
use bytemuck::{cast_slice, cast_slice_mut, from_bytes};
use lb_common::{
    abi::backend::{SLOTS_LEN, Slots},
    maglev::{self, NO_BACKEND},
};

use super::maps::Tables;
use crate::{
    dataplane::{DataplaneError, Member},
    model::LbIndex,
};

type Inner = Array<MapData, Slots>;

pub(super) struct MaglevTables {
    tables: Tables,
    /// The inner maps in use.
    current: BTreeMap<LbIndex, Inner>,
    /// Slots of every table.
    slots: usize,
}

impl MaglevTables {
    pub(super) fn new(tables: Tables, slots: u32) -> Self {
        Self {
            tables,
            current: BTreeMap::new(),
            slots: (slots as usize).clamp(2, maglev::MAX_SLOTS),
        }
    }

    pub(super) fn slots(&self) -> u32 {
        self.slots as u32
    }

    /// Builds the table of `lb` and swaps it in. When this returns, no packet
    /// in flight uses an older table or flag.
    pub(super) fn put(&mut self, lb: LbIndex, members: &[Member]) -> Result<(), DataplaneError> {
        // Words of eight bytes, for the alignment of the map's value.
        let mut words = vec![0_u64; SLOTS_LEN / 4];
        fill(members, self.slots, cast_slice_mut(&mut words));
        let failed = |error| failed("fill", lb, error);
        let mut inner = Inner::create(1, 0).map_err(failed)?;
        let slots: &Slots = from_bytes(cast_slice(&words));
        inner.set(0, slots, 0).map_err(failed)?;
        self.swap(lb, &inner)?;
        self.current.insert(lb, inner);
        Ok(())
    }

    pub(super) fn remove(&mut self, lb: LbIndex) -> Result<(), DataplaneError> {
        // A table that leads nowhere: aya cannot delete from an array of maps,
        // and an empty element would mean the same.
        self.put(lb, &[])?;
        self.current.remove(&lb);
        Ok(())
    }

    /// Waits until no packet in flight goes by what was written before. Without
    /// any table there is none to wait for.
    pub(super) fn wait(&mut self) -> Result<(), DataplaneError> {
        if let Some((lb, inner)) = self.current.pop_first() {
            self.swap(lb, &inner)?;
            self.current.insert(lb, inner);
        }
        Ok(())
    }

    fn swap(&mut self, lb: LbIndex, inner: &Inner) -> Result<(), DataplaneError> {
        self.tables
            .set(u32::from(lb), inner, 0)
            .map_err(|error| failed("swap", lb, error))
    }
}

fn failed(what: &str, lb: LbIndex, error: MapError) -> DataplaneError {
    DataplaneError::Kernel {
        action: format!("to {what} the Maglev table of load balancer {lb}"),
        source: match error {
            MapError::IoError(error) => error,
            MapError::SyscallError(error) => error.io_error,
            other => std::io::Error::other(other),
        },
    }
}

/// The table for these members, in the first `slots` elements of `table`; what
/// is beyond leads nowhere.
fn fill(members: &[Member], slots: usize, table: &mut [u16]) {
    // The order is part of the result, and must be the same on every node.
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by(|a, b| a.id.cmp(&b.id));
    let mut ways: Vec<_> = members
        .iter()
        .map(|m| maglev::Member::new(m.backend, m.id.as_bytes(), m.weight, slots))
        .collect();
    let mut owners = vec![NO_BACKEND; slots];
    maglev::populate(&mut ways, &mut owners);
    let mut in_service: Vec<_> = members
        .iter()
        .filter(|m| m.in_service)
        .map(|m| m.backend)
        .collect();
    in_service.sort_unstable();
    let (used, beyond) = table.split_at_mut(slots);
    maglev::refill(&owners, |b| in_service.binary_search(&b).is_ok(), used);
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
        fill(members, 251, &mut table);
        table
    }

    #[test]
    fn the_order_of_the_members_does_not_matter() {
        let (a, b, c) = (member(1, true), member(2, true), member(3, false));
        assert_eq!(table(&[a.clone(), b.clone(), c.clone()]), table(&[c, a, b]));
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
