//! The program at TC where the kernel has no links for it (before Linux 6.6): a filter of
//! the interface's queueing discipline `clsact`.
//!
//! A filter holds its program while no agent runs, as a pinned link does, and goes with its
//! interface. It has no file, so the program itself is pinned under the interface's name,
//! before it is attached: where there is a pin there may be a filter of ours.

use std::{io, mem, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    links::Link as _,
    tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact},
};

/// Which one is ours among the filters of an interface. Others' stay, before it and behind
/// it, and see what the program passes on.
const PRIORITY: u16 = 0xEBB;
const HANDLE: TcHandle = TcHandle::new(0, 0xEBB);

/// Has the program run on an interface; in the place of an earlier one, in one step. `pin`
/// is where to keep it.
pub(super) fn attach(
    program: &mut SchedClassifier,
    interface: &str,
    pin: &Path,
) -> Result<(), ProgramError> {
    match qdisc_add_clsact(interface) {
        // Another's, or an earlier agent's.
        Err(error) if errno(&error) == Some(libc::EEXIST) => {}
        added => added?,
    }
    keep(program, pin)?;
    let attached = match program.attach_to_link(filter(interface)?) {
        Err(ProgramError::TcError(error)) if errno(&error) == Some(libc::ENOENT) => {
            let options = TcAttachOptions::Netlink(NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                classid: None,
            });
            program.attach_with_options(interface, TcAttachType::Ingress, options)
        }
        replaced => replaced,
    };
    let link = program.take_link(attached?)?;
    // The filter would go with it.
    mem::forget(link);
    Ok(())
}

/// Pins the program in the place of the one before.
fn keep(program: &mut SchedClassifier, pin: &Path) -> Result<(), ProgramError> {
    let failed = |error| ProgramError::from(TcError::IoError(error));
    match std::fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let pinned = program.pin(pin);
    pinned.map_err(|error| failed(io::Error::other(error)))
}

/// Takes our filter off an interface, if both are there.
pub(super) fn detach(interface: &str) -> Result<(), ProgramError> {
    let Ok(filter) = filter(interface) else {
        return Ok(());
    };
    match filter.detach() {
        Err(ProgramError::NetlinkError(error)) if is_gone(error.raw_os_error()) => Ok(()),
        detached => detached,
    }
}

/// No such filter, no discipline that could have one, or no interface.
fn is_gone(errno: Option<i32>) -> bool {
    matches!(errno, Some(libc::ENOENT | libc::EINVAL | libc::ENODEV))
}

fn filter(interface: &str) -> Result<SchedClassifierLink, TcError> {
    let ingress = TcAttachType::Ingress;
    Ok(SchedClassifierLink::attached(
        interface, ingress, PRIORITY, HANDLE, None,
    )?)
}

fn errno(error: &TcError) -> Option<i32> {
    match error {
        TcError::NetlinkError(error) => error.raw_os_error(),
        TcError::IoError(error) => error.raw_os_error(),
        _ => None,
    }
}
