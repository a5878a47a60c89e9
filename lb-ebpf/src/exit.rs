//! The way out to a client: the interface that it came in by, and the router there if one
//! is known to lead to it.

use aya_ebpf::btf_maps::lpm_trie::Key;
use lb_common::{
    abi::{
        backend::{self, Backend},
        config::MAX_INTERFACES,
        counter::Verdict,
        exit::{AT_TC, Exit, INTERFACE_BITS, Reach, RouterKey},
        flow::Flow,
    },
    wire::Mac,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use crate::{family::Family, flow::Entry, interface, maps};

/// The way out to a client whose packet came from this MAC address.
///
/// The host's routes say whose it is. Where they name another router than the one that the
/// packet came from, and that one is a router too, the answers go back by it.
#[inline(always)]
pub(crate) fn of<H: Hook, A: Family>(
    cursor: &Cursor<H>,
    client: A,
    mac: Mac,
) -> Result<u16, Verdict> {
    // No router was ever known: clients are on the link itself.
    if maps::EXITS
        .get(MAX_INTERFACES)
        .is_none_or(|first| first.ifindex == 0)
    {
        return interface::number(cursor);
    }
    let ifindex = cursor.ifindex();
    let bits = INTERFACE_BITS + size_of::<A>() as u32 * u8::BITS;
    let reach = Reach {
        ifindex,
        address: client,
    };
    if let Some(number) = A::routes().get(&Key::new(bits, reach)) {
        let number = *number;
        let leads_back = number < MAX_INTERFACES
            || maps::EXITS
                .get(number)
                .is_some_and(|exit| !has_router(exit) || exit.to == mac);
        if leads_back {
            return Ok(number as u16);
        }
        return Ok(by_router::<A>(ifindex, mac).unwrap_or(number as u16));
    }
    match by_router::<A>(ifindex, mac) {
        Some(number) => Ok(number),
        None => interface::number(cursor),
    }
}

/// The router that this MAC address is known to be.
#[inline(always)]
fn by_router<A: Family>(ifindex: u32, mac: Mac) -> Option<u16> {
    let key = RouterKey {
        ifindex,
        mac,
        v6: A::V6 as u16,
    };
    // SAFETY: the value is copied at once, and is one aligned word.
    unsafe { maps::ROUTERS.get(&key) }.map(|number| *number as u16)
}

/// The way out to a flow's client.
#[inline(always)]
pub(crate) fn of_flow<A: Family>(entry: &Flow<A>) -> Result<&'static Exit, Verdict> {
    maps::EXITS
        .get(entry.exit as u32)
        .ok_or(Verdict::DropNoNextHop)
}

/// Leaves a packet of this flow to the program at TC if its way out takes no frames from
/// this hook. To be asked before anything is written, of the packet or of its flow.
#[inline(always)]
pub(crate) fn check<H: Hook, A: Family>(entry: Entry<A>, backend: &Backend) -> Result<(), Verdict> {
    if H::REACHES_ALL {
        Ok(())
    } else if entry.is_reply() {
        check_exit::<H>(entry.get(of_flow)?)
    } else {
        check_backend::<H>(backend)
    }
}

/// As [`check`], of what goes to clients.
#[inline(always)]
pub(crate) fn check_exit<H: Hook>(exit: &Exit) -> Result<(), Verdict> {
    if !H::REACHES_ALL && exit.flags & AT_TC != 0 {
        return Err(Verdict::PassUp);
    }
    Ok(())
}

/// As [`check`], of what goes to a backend.
#[inline(always)]
pub(crate) fn check_backend<H: Hook>(to: &Backend) -> Result<(), Verdict> {
    if !H::REACHES_ALL && to.flags & backend::AT_TC != 0 {
        return Err(Verdict::PassUp);
    }
    Ok(())
}

/// Where frames by this way go, if the client last sent from `client`.
#[inline(always)]
pub(crate) fn far_end(exit: &Exit, client: Mac) -> Mac {
    if has_router(exit) { exit.to } else { client }
}

#[inline(always)]
fn has_router(exit: &Exit) -> bool {
    let [a, b, c] = exit.to;
    a | b | c != 0
}
