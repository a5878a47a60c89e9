//! Keeps the kernel program on its interfaces.
//!
//! Links are pinned in `<bpffs_dir>/links/<interface>`, or at TC in
//! `<bpffs_dir>/tc/<interface>`: they hold the program on the interface while no agent
//! runs. An agent that starts finds them and replaces the program in them, atomically; no
//! packet meets an interface without a program. Where the kernel has no links for TC, a
//! filter does what a link would ([`clsact`]).
//!
//! An interface that vanishes leaves a dead link behind. When one of that name
//! comes back, [`Links::attach`] makes a new link in its place.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    programs::{
        LinkOrder, ProgramError, TcAttachType, XdpMode as AyaMode,
        links::{FdLink, LinkError, PinnedLink},
        tc::{SchedClassifierLink, TcAttachOptions},
        xdp::XdpLink,
    },
    util::KernelVersion,
};
use tracing::{debug, info, warn};

use super::{
    clsact,
    loader::{self, LoadError, Program},
    syscall::{self, LinkType},
};
use crate::{
    model::{Hook, HookChoice},
    netlink::{Link, LinkKind, XdpAttached},
};

/// Where the links are pinned: those to XDP, and those to TC.
const XDP_LINKS: &str = "links";
const TC_LINKS: &str = "tc";
/// And the program, for every filter that has it.
const TC_FILTERS: &str = "clsact";

/// Since this version of Linux what is attached to TC can be a link.
const TC_LINKS_SINCE: KernelVersion = KernelVersion::new(6, 6, 0);

/// BPF file systems have no dots in names, and interfaces no colons.
fn file_name(interface: &str) -> String {
    interface.replace('.', ":")
}

fn interface_of(file_name: &str) -> String {
    file_name.replace(':', ".")
}

pub(super) struct Links {
    program: Program,
    /// Where the links to XDP are pinned, those to TC, and the program for each filter.
    xdp_dir: PathBuf,
    tc_dir: PathBuf,
    filters_dir: PathBuf,
    choice: HookChoice,
    /// Of single interfaces.
    choices: BTreeMap<String, HookChoice>,
    counts_losses: bool,
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
        "the driver of {interface} does not support XDP: {reason}; [packets] hook = \"auto\" \
         takes its packets at TC instead"
    )]
    NoDriverMode { interface: String, reason: String },
    #[error(
        "{0} is a bond: a program at XDP would run on its members, where no packet is for it; \
         [packets] hook = \"auto\" takes its packets at TC"
    )]
    Bond(String),
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
        choice: HookChoice,
        choices: BTreeMap<String, HookChoice>,
    ) -> Result<Self, LoadError> {
        let [xdp_dir, tc_dir, filters_dir] =
            [XDP_LINKS, TC_LINKS, TC_FILTERS].map(|name| bpffs_dir.join(name));
        for dir in [&xdp_dir, &tc_dir, &filters_dir] {
            loader::make_dir(dir)?;
        }
        Ok(Self {
            program,
            xdp_dir,
            tc_dir,
            filters_dir,
            choice,
            choices,
            counts_losses: false,
        })
    }

    /// Whether the hook of an interface is ours to choose.
    pub(super) fn may_choose(&self, interface: &str) -> bool {
        self.choice(interface) == HookChoice::Auto
    }

    fn choice(&self, interface: &str) -> HookChoice {
        self.choices.get(interface).copied().unwrap_or(self.choice)
    }

    /// Has the verifier look at what these interfaces will run, before anything of the
    /// host is changed.
    pub(super) fn load_for<'l>(
        &mut self,
        links: impl IntoIterator<Item = &'l Link>,
    ) -> Result<(), LoadError> {
        for link in links {
            match self.first_choice(link) {
                Hook::Xdp => self.program.xdp().map(drop)?,
                Hook::Tc => self.program.tc(link.bare).map(drop)?,
            }
        }
        Ok(())
    }

    /// The hook that suits an interface, as far as can be said without trying.
    fn first_choice(&self, link: &Link) -> Hook {
        match self.choice(&link.name) {
            // No driver is there that could have XDP, or no frame that it could see.
            _ if link.loopback || link.bare => Hook::Tc,
            HookChoice::Xdp => Hook::Xdp,
            HookChoice::Tc => Hook::Tc,
            HookChoice::Auto if link.kind.unfit_for_xdp().is_none() => Hook::Xdp,
            HookChoice::Auto => Hook::Tc,
        }
    }

    /// Makes the program run on an interface, at the hook that suits it.
    pub(super) fn attach(&mut self, link: &Link) -> Result<Hook, AttachError> {
        match self.first_choice(link) {
            Hook::Tc => return self.attach_at_tc(&link.name, link.index, link.bare),
            Hook::Xdp if link.kind == LinkKind::Bond => {
                return Err(AttachError::Bond(link.name.clone()));
            }
            Hook::Xdp => {}
        }
        match self.attach_at_xdp(link) {
            Err(AttachError::NoDriverMode { interface, reason }) if self.may_choose(&link.name) => {
                info!(
                    interface,
                    reason, "no XDP in the driver: packets are taken at TC"
                );
                self.attach_at_tc(&link.name, link.index, link.bare)
            }
            attached => attached,
        }
    }

    /// At XDP a frame may be lost after the program has sent it on. That this cannot be
    /// counted is no reason not to serve.
    fn count_losses(&mut self) {
        if !self.counts_losses {
            self.counts_losses = true;
            if let Err(error) = self.program.count_losses() {
                warn!(%error, "what is lost behind XDP is not counted (drop_redirect_lost)");
            }
        }
    }

    /// In the driver.
    fn attach_at_xdp(&mut self, link: &Link) -> Result<Hook, AttachError> {
        let (interface, ifindex) = (&*link.name, link.index);
        let path = self.xdp_dir.join(file_name(interface));
        if link.xdp == Some(XdpAttached::Generic) {
            // If it is ours, it is of a version that took packets so.
            remove(&path)?;
        }
        if !self.take_over_xdp(interface, ifindex, &path)? {
            let xdp = self.program.xdp()?;
            let made = xdp
                .attach_to_if_index(ifindex, AyaMode::Driver)
                .and_then(|id| xdp.take_link(id))
                .map_err(|source| match attach_error(interface, source) {
                    AttachError::Attach { interface, source } => AttachError::NoDriverMode {
                        interface,
                        reason: source.to_string(),
                    },
                    other => other,
                })?;
            // Fails for a link that is none: where the kernel knows no links for
            // XDP, aya falls back to netlink. The kernels that the loader admits
            // all know them.
            pin(interface, FdLink::try_from(made), &path)?;
        }
        self.count_losses();
        Ok(Hook::Xdp)
    }

    /// Takes the program off TC, where it is.
    pub(super) fn take_off_tc(&self, interface: &str) -> Result<(), AttachError> {
        remove(&self.tc_dir.join(file_name(interface)))?;
        remove_filter(&self.filters_dir, &file_name(interface))
    }

    pub(super) fn attach_at_tc(
        &mut self,
        interface: &str,
        ifindex: u32,
        bare: bool,
    ) -> Result<Hook, AttachError> {
        self.put_at_tc(interface, ifindex, bare)?;
        // Only now: for a moment it is on both, and no packet meets neither.
        remove(&self.xdp_dir.join(file_name(interface)))?;
        Ok(Hook::Tc)
    }

    /// Has the program run at TC, whatever is at XDP.
    pub(super) fn put_at_tc(
        &mut self,
        interface: &str,
        ifindex: u32,
        bare: bool,
    ) -> Result<(), AttachError> {
        let path = self.tc_dir.join(file_name(interface));
        if !has_tc_links() {
            let pin = self.filters_dir.join(file_name(interface));
            clsact::attach(self.program.tc(bare)?, interface, &pin)
                .map_err(|source| attach_error(interface, source))?;
        } else if !self.take_over_tc(interface, ifindex, bare, &path)? {
            let tc = self.program.tc(bare)?;
            let order = TcAttachOptions::TcxOrder(LinkOrder::default());
            let made = tc
                .attach_with_options(interface, TcAttachType::Ingress, order)
                .and_then(|id| tc.take_link(id))
                .map_err(|source| attach_error(interface, source))?;
            pin(interface, FdLink::try_from(made), &path)?;
        }
        Ok(())
    }

    /// Puts the program at XDP into a link that is pinned already; false if there is
    /// none that holds this interface.
    fn take_over_xdp(
        &mut self,
        interface: &str,
        ifindex: u32,
        path: &Path,
    ) -> Result<bool, AttachError> {
        let Some(pinned) = pinned(interface, ifindex, path, LinkType::Xdp)? else {
            return Ok(false);
        };
        let link = XdpLink::try_from(pinned).map_err(|source| link_error(interface, source))?;
        let xdp = self.program.xdp()?;
        let attached = xdp.attach_to_link(link).and_then(|id| xdp.take_link(id));
        taken_over(interface, attached.map(drop), path)
    }

    /// As above, at TC.
    fn take_over_tc(
        &mut self,
        interface: &str,
        ifindex: u32,
        bare: bool,
        path: &Path,
    ) -> Result<bool, AttachError> {
        let Some(pinned) = pinned(interface, ifindex, path, LinkType::Tcx)? else {
            return Ok(false);
        };
        let link = SchedClassifierLink::try_from(pinned)
            .map_err(|source| link_error(interface, source))?;
        let tc = self.program.tc(bare)?;
        let attached = tc.attach_to_link(link).and_then(|id| tc.take_link(id));
        taken_over(interface, attached.map(drop), path)
    }

    /// Takes the program off every interface that is not among `keep`.
    pub(super) fn detach_others(&self, keep: &[String]) -> Result<(), AttachError> {
        for dir in [&self.xdp_dir, &self.tc_dir, &self.filters_dir] {
            for entry in entries(dir)? {
                let interface = interface_of(&entry);
                if !keep.contains(&interface) {
                    info!(interface, "no longer configured: taking the program off");
                    if *dir == self.filters_dir {
                        remove_filter(dir, &entry)?;
                    } else {
                        remove(&dir.join(entry))?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn has_tc_links() -> bool {
    KernelVersion::current().is_ok_and(|version| version >= TC_LINKS_SINCE)
}

/// The link that is pinned at `path`, if it holds this interface.
fn pinned(
    interface: &str,
    ifindex: u32,
    path: &Path,
    kind: LinkType,
) -> Result<Option<FdLink>, AttachError> {
    match syscall::pinned_link(path, kind) {
        Ok(Some(holds)) if holds == ifindex => {}
        Ok(holds) => {
            debug!(
                interface,
                ?holds,
                ifindex,
                "the pinned link is of an interface that is gone"
            );
            remove(path)?;
            return Ok(None);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            warn!(interface, %error, "the pinned link cannot be read; making a new one");
            remove(path)?;
            return Ok(None);
        }
    }
    let pinned = PinnedLink::from_pin(path).map_err(|source| link_error(interface, source))?;
    Ok(Some(pinned.into()))
}

/// Whether a link that was pinned holds the new program now.
fn taken_over(
    interface: &str,
    attached: Result<(), ProgramError>,
    path: &Path,
) -> Result<bool, AttachError> {
    match attached {
        Ok(()) => {
            info!(interface, "replaced the program in the link that was there");
            Ok(true)
        }
        Err(ProgramError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOLINK) => {
            // The interface went away this moment.
            remove(path)?;
            Ok(false)
        }
        Err(source) => Err(attach_error(interface, source)),
    }
}

/// Pins a link that was made: the file keeps it, and the descriptor may go.
fn pin(interface: &str, made: Result<FdLink, LinkError>, path: &Path) -> Result<(), AttachError> {
    let link = made.map_err(|source| link_error(interface, source))?;
    link.pin(path).map_err(|source| AttachError::Pin {
        interface: interface.to_owned(),
        path: path.to_owned(),
        source: Box::new(source),
    })?;
    Ok(())
}

fn link_error(interface: &str, source: LinkError) -> AttachError {
    AttachError::Link {
        interface: interface.to_owned(),
        source: Box::new(source),
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

/// Takes a filter of ours off its interface, and then the pin that says so.
fn remove_filter(dir: &Path, entry: &str) -> Result<(), AttachError> {
    let pin = dir.join(entry);
    if !fs::exists(&pin).unwrap_or(true) {
        return Ok(());
    }
    let interface = interface_of(entry);
    clsact::detach(&interface).map_err(|source| attach_error(&interface, source))?;
    remove(&pin)
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
            if dir.ends_with(TC_FILTERS) {
                remove_filter(&dir, &entry)?;
            } else {
                remove(&dir.join(entry))?;
            }
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
    names.sort_by_key(|name| ![XDP_LINKS, TC_LINKS, TC_FILTERS].contains(&&**name));
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
