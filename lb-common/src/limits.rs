//! What the tables hold: the sizes that they have unless somebody says
//! otherwise, and how far the layouts let them grow.
//!
//! The one place for these numbers. The kernel crate declares its maps with
//! them, the agent loads the maps in the sizes that `[tables]` names and refuses
//! what does not fit, and everything that tells of a limit takes it from there.

use crate::abi::config::MAX_NAT_POOL;

/// Load balancers, with a Maglev table each as soon as there is one.
pub const LOAD_BALANCERS: u32 = 1024;
/// Backends, over all load balancers; those that have left count until nothing
/// in the kernel names them any more.
pub const BACKENDS: u32 = 16_384;
/// Listeners, over all load balancers.
pub const LISTENERS: u32 = 4096;
/// Entries of established flows, per address family.
pub const FLOWS: u32 = 262_144;
/// Entries of half-open flows, per address family.
pub const HALF_OPEN: u32 = 65_536;

/// As many load balancers, backends and listeners as there can be: flows name
/// them by 16 bits, and of those [`crate::maglev::NO_BACKEND`] is nobody.
pub const MOST_INDICES: u32 = u16::MAX as u32;

/// Addresses of one family that ebb translates to: those of the pool and of the
/// pool before it, which open flows may still use; without a pool, the host's
/// own towards its backends.
const NAT_SOURCES: u32 = 4 * MAX_NAT_POOL;

/// Maglev tables for so many load balancers: one for each, and one that no packet
/// is looked up in, which the agent swaps to wait for packets in flight.
#[must_use]
pub const fn table_rows(load_balancers: u32) -> u32 {
    load_balancers.saturating_add(1)
}

/// Rows for so many listeners: flows name the row of a listener that has been
/// removed, so that all of them can be replaced at once.
#[must_use]
pub const fn listener_rows(listeners: u32) -> u32 {
    let rows = listeners.saturating_mul(2);
    if rows < MOST_INDICES {
        rows
    } else {
        MOST_INDICES
    }
}

/// Entries that lead to so many listeners: one for each, one for its address
/// (no two need have the same), and the nat sources.
#[must_use]
pub const fn vip_entries(listeners: u32) -> u32 {
    listeners.saturating_mul(2).saturating_add(NAT_SOURCES)
}

/// Rows of nat ports for so many established flows: a row serves one source address and
/// backend, and as many flows as there are ports.
#[must_use]
pub const fn nat_port_rows(flows: u32) -> u32 {
    let rows = flows / 4096;
    if rows < 64 {
        64
    } else if rows > 256 {
        256
    } else {
        rows
    }
}

const _: () = assert!(nat_port_rows(FLOWS) == 64);
const _: () = assert!(listener_rows(LISTENERS) == 8192);
const _: () = assert!(listener_rows(MOST_INDICES) == MOST_INDICES);
const _: () = assert!(vip_entries(LISTENERS) == 9216);
