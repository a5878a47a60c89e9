//! Keeps the kernel program on its interfaces.
//!
//! Links are pinned in `<bpffs_dir>/links/<interface>`: they hold the program on
//! the interface while no agent runs. An agent that starts finds them and
//! replaces the program in them, atomically; no packet meets an interface
//! without a program.
//!
//! An interface that vanishes leaves a dead link behind. When one of that name
//! comes back, [`Links::attach`] makes a new link in its place.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, XdpMode as AyaMode,
    links::{FdLink, LinkError, PinnedLink},
    xdp::XdpLink,
};
use tracing::{debug, info, warn};

use super::{
    loader::{self, LoadError, Program},
    syscall,
};
use crate::model::XdpMode;

/// Where the links are pinned.
fn links_dir(bpffs_dir: &Path) -> PathBuf {
    bpffs_dir.join("links")
}

/// BPF file systems have no dots in names, and interfaces no colons.
fn file_name(interface: &str) -> String {
    interface.replace('.', ":")
}

fn interface_of(file_name: &str) -> String {
    file_name.replace(':', ".")
}

pub(super) struct Links {
    program: Program,
    dir: PathBuf,
    mode: XdpMode,
}

/// What [`Links::attach`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Attached {
    /// Made a new link, in the driver or generic.
    Anew { driver: bool },
    /// Put the program into the link that an earlier agent had made; in which
    /// mode that is, stays.
    TakenOver,
}

#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error("there is no interface {0}; `ip link` lists the interfaces")]
    NoInterface(String),
    #[error(
        "another XDP program is on {interface}; look at it with `ip link show dev {interface}`, and \
         if it is not needed, remove it with `ip link set dev {interface} xdp off`"
    )]
    Occupied { interface: String },
    #[error(
        "the driver of {interface} does not support XDP: {reason}; xdp_mode = \"auto\" would \
         fall back to generic mode, which is slower"
    )]
    NoDriverMode { interface: String, reason: String },
    #[error("cannot attach to {interface}: {source}")]
    Attach {
        interface: String,
        source: Box<ProgramError>,
    },
    #[error("cannot keep the program on {interface}: {source}")]
    Link {
        interface: String,
        source: Box<LinkError>,
    },
    #[error("cannot pin the link of {interface} as {}: {source}", path.display())]
    Pin {
        interface: String,
        path: PathBuf,
        source: Box<aya::pin::PinError>,
    },
    #[error("cannot remove {}: {source}", path.display())]
    Remove { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Load(#[from] LoadError),
}

impl Links {
    pub(super) fn new(
        program: Program,
        bpffs_dir: &Path,
        mode: XdpMode,
    ) -> Result<Self, LoadError> {
        let dir = links_dir(bpffs_dir);
        loader::make_dir(&dir)?;
        Ok(Self { program, dir, mode })
    }

    /// Makes the program run on `interface`, which has the index `ifindex`.
    pub(super) fn attach(
        &mut self,
        interface: &str,
        ifindex: u32,
    ) -> Result<Attached, AttachError> {
        let path = self.dir.join(file_name(interface));
        if self.take_over(interface, ifindex, &path)? {
            info!(interface, "replaced the program in the link that was there");
            return Ok(Attached::TakenOver);
        }
        let (link, driver) = self.create(interface, ifindex)?;
        // The file keeps the link; the descriptor may go.
        link.pin(&path).map_err(|source| AttachError::Pin {
            interface: interface.to_owned(),
            path,
            source: Box::new(source),
        })?;
        Ok(Attached::Anew { driver })
    }

    /// Puts the program into a link that is pinned already; false if there is
    /// none that holds this interface.
    fn take_over(
        &mut self,
        interface: &str,
        ifindex: u32,
        path: &Path,
    ) -> Result<bool, AttachError> {
        match syscall::pinned_xdp_link(path) {
            Ok(Some(holds)) if holds == ifindex => {}
            Ok(holds) => {
                debug!(
                    interface,
                    ?holds,
                    ifindex,
                    "the pinned link is of an interface that is gone"
                );
                remove(path)?;
                return Ok(false);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => {
                warn!(interface, %error, "the pinned link cannot be read; making a new one");
                remove(path)?;
                return Ok(false);
            }
        }
        let failed = |source| AttachError::Link {
            interface: interface.to_owned(),
            source: Box::new(source),
        };
        let pinned = PinnedLink::from_pin(path).map_err(failed)?;
        let link = XdpLink::try_from(FdLink::from(pinned)).map_err(failed)?;
        let xdp = self.program.xdp()?;
        let attached = xdp
            .attach_to_link(link)
            .and_then(|id| xdp.take_link(id))
            .map(drop);
        match attached {
            Ok(()) => Ok(true),
            Err(ProgramError::SyscallError(e))
                if e.io_error.raw_os_error() == Some(libc::ENOLINK) =>
            {
                // The interface went away this moment.
                remove(path)?;
                Ok(false)
            }
            Err(source) => Err(attach_error(interface, source)),
        }
    }

    /// Makes a new link; true with it if it is in the driver.
    fn create(&mut self, interface: &str, ifindex: u32) -> Result<(FdLink, bool), AttachError> {
        if self.mode != XdpMode::Generic {
            match self.try_create(interface, ifindex, AyaMode::Driver) {
                Ok(link) => return Ok((link, true)),
                Err(AttachError::Attach { interface, source }) if self.mode == XdpMode::Driver => {
                    return Err(AttachError::NoDriverMode {
                        interface,
                        reason: source.to_string(),
                    });
                }
                Err(AttachError::Attach { source, .. }) => warn!(
                    interface,
                    reason = %source,
                    "the driver takes no XDP program: falling back to generic mode, where the \
                     kernel builds an skb for every packet first; expect a fraction of the \
                     packet rate and more CPU for each packet"
                ),
                Err(error) => return Err(error),
            }
        }
        let link = self.try_create(interface, ifindex, AyaMode::Skb)?;
        Ok((link, false))
    }

    fn try_create(
        &mut self,
        interface: &str,
        ifindex: u32,
        mode: AyaMode,
    ) -> Result<FdLink, AttachError> {
        let xdp = self.program.xdp()?;
        let link = xdp
            .attach_to_if_index(ifindex, mode)
            .and_then(|id| xdp.take_link(id))
            .map_err(|source| attach_error(interface, source))?;
        // Fails for a link that is none: where the kernel knows no links for
        // XDP, aya falls back to netlink. The kernels that the loader admits
        // all know them.
        FdLink::try_from(link).map_err(|source| AttachError::Link {
            interface: interface.to_owned(),
            source: Box::new(source),
        })
    }

    /// Takes the program off every interface that is not among `keep`.
    pub(super) fn detach_others(&self, keep: &[String]) -> Result<(), AttachError> {
        for entry in entries(&self.dir)? {
            let interface = interface_of(&entry);
            if !keep.contains(&interface) {
                info!(interface, "no longer configured: taking the program off");
                remove(&self.dir.join(entry))?;
            }
        }
        Ok(())
    }
}

fn attach_error(interface: &str, source: ProgramError) -> AttachError {
    let errno = match &source {
        ProgramError::SyscallError(e) => e.io_error.raw_os_error(),
        ProgramError::XdpError(aya::programs::xdp::XdpError::NetlinkError(e)) => e.raw_os_error(),
        _ => None,
    };
    let interface = interface.to_owned();
    match errno {
        // Another link or program is there; or one in the other mode.
        Some(libc::EBUSY | libc::EEXIST) => AttachError::Occupied { interface },
        Some(libc::ENODEV) => AttachError::NoInterface(interface),
        _ => AttachError::Attach {
            interface,
            source: Box::new(source),
        },
    }
}

fn remove(path: &Path) -> Result<(), AttachError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(AttachError::Remove {
            path: path.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// The names in a directory; none if there is no such directory.
fn entries(dir: &Path) -> Result<Vec<String>, AttachError> {
    let failed = |source| AttachError::Remove {
        path: dir.to_owned(),
        source,
    };
    match fs::read_dir(dir) {
        Ok(entries) => entries
            .map(|e| {
                Ok(e.map_err(failed)?
                    .file_name()
                    .to_string_lossy()
                    .into_owned())
            })
            .collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
    }
}

/// Whether an earlier agent left something there, or one runs.
#[must_use]
pub fn is_loaded(bpffs_dir: &Path) -> bool {
    // What cannot be looked into is not ours to take away.
    entries(bpffs_dir).map_or(true, |entries| !entries.is_empty())
}

/// Takes the program off all interfaces and drops its maps, and with them all
/// flows. No agent may be running on `bpffs_dir`.
///
/// # Errors
/// When a pin cannot be removed.
pub fn unload(bpffs_dir: &Path) -> Result<(), AttachError> {
    // First the links: a program on an interface keeps its maps.
    for dir in subdirectories(bpffs_dir)? {
        for entry in entries(&dir)? {
            remove(&dir.join(entry))?;
        }
        fs::remove_dir(&dir).map_err(|source| AttachError::Remove { path: dir, source })?;
    }
    match fs::remove_dir(bpffs_dir) {
        // Whoever may not write beside it was given it, and leaves it empty.
        Err(source) if is_anothers_to_remove(&source) => Ok(()),
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(AttachError::Remove {
            path: bpffs_dir.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// The folder that it is in is not ours, or it is the place of a mount.
fn is_anothers_to_remove(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::ResourceBusy
    )
}

/// What an agent makes in its directory, links first.
fn subdirectories(bpffs_dir: &Path) -> Result<Vec<PathBuf>, AttachError> {
    let mut names = entries(bpffs_dir)?;
    names.sort_by_key(|name| name != "links");
    Ok(names.iter().map(|name| bpffs_dir.join(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_with_dots_has_a_pin_and_comes_back_from_it() {
        assert_eq!(file_name("eth0.100"), "eth0:100");
        assert_eq!(interface_of("eth0:100"), "eth0.100");
    }
}
