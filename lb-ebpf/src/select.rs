//! Which backend a new flow goes to.

use lb_common::{
    abi::{
        backend::{Backend, LoadBalancer, REACHABLE, TAKES_NEW},
        flow::FlowKey,
    },
    hash,
    maglev::{MAX_SLOTS, NO_BACKEND},
};

use crate::{family::Family, maps};

/// How many slots are tried. The table names backends only that are in service and
/// can be reached, and the agent changes flags and tables in such an order that the
/// first try holds; the others are for a flag that the agent could not follow with a
/// table.
const TRIES: u32 = 8;

/// The backend of a new flow, with its index: one that takes new flows, or
/// none.
#[inline(always)]
pub(crate) fn backend<A: Family>(
    key: &FlowKey<A>,
    index: u16,
    lb: &LoadBalancer,
) -> Option<(u16, &'static Backend)> {
    let table = maps::TABLES.get_value(index as u32, &0)?;
    if lb.slots == 0 {
        return None;
    }
    let mut hash = key.hash(lb.seed);
    for _ in 0..TRIES {
        let slot = hash::below(hash, lb.slots) as usize;
        if slot >= MAX_SLOTS {
            return None;
        }
        let candidate = table[slot];
        if candidate != NO_BACKEND
            && let Some(backend) = maps::BACKENDS.get(candidate as u32)
        {
            let ready = TAKES_NEW | REACHABLE;
            if backend.flags & ready == ready {
                return Some((candidate, backend));
            }
        }
        hash = hash::again(hash);
    }
    None
}
