//! The interface that a packet came in by, and whether its frame is to us there.

use lb_common::{
    abi::{counter::Verdict, exit::LOOPBACK},
    wire,
};
use lb_ebpf::{cursor::Cursor, hook::Hook};

use crate::maps;

/// Our number of the interface that the packet came in by.
#[inline(always)]
pub(crate) fn number<H: Hook>(cursor: &Cursor<H>) -> Result<u16, Verdict> {
    let ifindex = cursor.ifindex();
    // Most hosts have one interface, and need no look-up.
    if maps::EXITS
        .get(0)
        .is_some_and(|first| first.ifindex == ifindex)
    {
        return Ok(0);
    }
    // SAFETY: the value is copied at once, and is one aligned word.
    match unsafe { maps::INTERFACE_BY_IFINDEX.get(ifindex) } {
        Some(number) => Ok(*number as u16),
        None => Err(Verdict::DropNoNextHop),
    }
}

/// Whether the packet is this host's own, on its way to this host.
#[inline(always)]
pub(crate) fn is_loopback<H: Hook>(cursor: &Cursor<H>) -> bool {
    // No XDP is there.
    H::REACHES_ALL
        && number(cursor)
            .ok()
            .and_then(|number| maps::EXITS.get(number as u32))
            .is_some_and(|interface| interface.flags & LOOPBACK != 0)
}

/// Whether the frame is addressed to the interface that it came in by, or to a MAC
/// address that the settings say is ours as well. What a switch floods, a bridge carries
/// or a broadcast reaches is somebody else's to answer.
#[inline(always)]
pub(crate) fn is_addressed<H: Hook>(cursor: &Cursor<H>) -> Result<bool, Verdict> {
    let [a, b, c] = cursor.read::<wire::Ethernet>(0)?.destination();
    let differs = |[d, e, f]: wire::Mac| a ^ d | b ^ e | c ^ f;
    if let Ok(number) = number(cursor)
        && let Some(interface) = maps::EXITS.get(number as u32)
        && differs(interface.from) == 0
    {
        return Ok(true);
    }
    let settings = maps::SETTINGS.get(0).ok_or(Verdict::DropInternal)?;
    let mut found = false;
    for mac in settings.macs {
        found |= differs(mac) == 0;
    }
    // What is not set is zero.
    Ok(found && a | b | c != 0)
}
