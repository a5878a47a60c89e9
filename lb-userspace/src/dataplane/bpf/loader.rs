//! Loads the kernel program and its maps: pinned ones as they are, so that flows
//! outlive the agent, others anew.

use std::{fs, io, os::fd::OwnedFd, path::Path};

use aya::{
    Ebpf, EbpfError, EbpfLoader,
    programs::{ProgramError, RawTracePoint, SchedClassifier, Xdp},
    util::KernelVersion,
};
use lb_common::{abi::half_open, limits};

use super::{
    kernel_log::{self, KernelLog},
    maps::{self, Maps, Tables},
    resize::{self, ResizeError},
    schema::{self, Schema, SchemaError},
    table::OpenError,
};
use crate::{bpffs, model::TableSizes, root_cause::told};

/// The names of the kernel programs in their object: the one at XDP, and the one at TC.
const XDP: &str = "ebb";
const TC: &str = "ebb_tc";
/// And the one at TC for devices whose packets have no link header.
const TC_BARE: &str = "ebb_tc_bare";

/// The programs that count what is lost behind XDP, and the tracepoints that they are for.
const LOSSES: [(&str, &str); 4] = [
    ("lost_redirect", "xdp_redirect_err"),
    ("lost_by_interface", "xdp_devmap_xmit"),
    ("lost_on_return", "xdp_bulk_tx"),
    ("lost_by_driver", "xdp_exception"),
];

/// The oldest whose verifier is known to follow the program: the packet tests
/// run there.
const OLDEST_KERNEL: KernelVersion = KernelVersion::new(6, 1, 0);

/// The kernel program, loaded but not attached, and its maps.
pub(super) struct Loaded {
    pub(super) program: Program,
    pub(super) maps: Maps,
    pub(super) tables: (Tables, OwnedFd),
    /// If it is wanted.
    pub(super) log: Option<KernelLog>,
}

/// The programs of both hooks. The verifier takes its time, so each is loaded when it is
/// first asked for.
pub(super) struct Program(Ebpf);

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(
        "this ebb was built without its kernel program; `cargo xtask build` builds one that has it"
    )]
    NoObject,
    #[error("ebb needs Linux {OLDEST_KERNEL} or later; this is {0}")]
    OldKernel(KernelVersion),
    #[error(
        "{dir} is not on a BPF file system; mount one with: mount -t bpf bpf {mount_point} ({})",
        bpffs::HIDDEN
    )]
    NoBpffs { dir: String, mount_point: String },
    #[error("cannot make the directory {dir}: {source}")]
    Directory { dir: String, source: io::Error },
    #[error(transparent)]
    Schema(#[from] SchemaError),
    #[error(transparent)]
    Resize(#[from] ResizeError),
    #[error("the kernel refused the maps of the kernel program: {}", told(.0))]
    Maps(#[source] Box<EbpfError>),
    #[error("the kernel refused the kernel program: {}", told(.0))]
    Program(#[source] Box<ProgramError>),
    #[error("the object inside this binary has no program named {0}")]
    NoProgram(&'static str),
    #[error("cannot read the log of the kernel program: {0}")]
    Log(#[from] aya_log::Error),
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Loads `object`, with its maps pinned under `bpffs_dir` if one is given, and
/// with its own log if `log`.
pub(super) fn load(
    object: &[u8],
    sizes: &TableSizes,
    bpffs_dir: Option<&Path>,
    log: bool,
) -> Result<Loaded, LoadError> {
    if object.is_empty() {
        return Err(LoadError::NoObject);
    }
    if let Ok(version) = KernelVersion::current()
        && version < OLDEST_KERNEL
    {
        return Err(LoadError::OldKernel(version));
    }
    let schema = Schema::of(object, sizes)?;
    let mut loader = EbpfLoader::new();
    kernel_log::set_level(&mut loader, log);
    let buckets = half_open::buckets(sizes.half_open);
    let nat_port_rows = limits::nat_port_rows(sizes.flows);
    loader.override_global("HALF_OPEN_BUCKETS", &buckets, true);
    loader.override_global("NAT_PORT_ROWS", &nat_port_rows, true);
    for (name, max_entries) in sizes.by_map() {
        loader.map_max_entries(name, max_entries);
    }
    if let Some(bpffs_dir) = bpffs_dir {
        let other_sizes = schema.check(bpffs_dir, resize::carries)?;
        let dir = schema::maps_dir(bpffs_dir);
        make_dir(&dir)?;
        resize::make_anew(&dir, &other_sizes)?;
        for name in schema.names() {
            loader.map_pin_path(name, dir.join(name));
        }
    }
    let mut ebpf = loader
        .load(object)
        .map_err(|error| LoadError::Maps(Box::new(error)))?;
    let maps = Maps::open(&ebpf)?;
    let tables = maps::tables(&mut ebpf)?;
    let log = log.then(|| KernelLog::open(&mut ebpf)).transpose()?;
    Ok(Loaded {
        program: Program(ebpf),
        maps,
        tables,
        log,
    })
}

impl Program {
    /// The one at XDP.
    pub(super) fn xdp(&mut self) -> Result<&mut Xdp, LoadError> {
        let program = self.0.program_mut(XDP);
        let program: &mut Xdp = program
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::NoProgram(XDP))?;
        loaded(program.load())?;
        Ok(program)
    }

    /// Counts what is lost behind XDP from now on, as long as this lives.
    pub(super) fn count_losses(&mut self) -> Result<(), LoadError> {
        for (name, tracepoint) in LOSSES {
            let program: &mut RawTracePoint = self
                .0
                .program_mut(name)
                .and_then(|program| program.try_into().ok())
                .ok_or(LoadError::NoProgram(name))?;
            loaded(program.load())?;
            loaded(program.attach(tracepoint).map(drop))?;
        }
        Ok(())
    }

    /// The one at TC, for devices whose packets have a link header, or for `bare` ones.
    pub(super) fn tc(&mut self, bare: bool) -> Result<&mut SchedClassifier, LoadError> {
        let name = if bare { TC_BARE } else { TC };
        let program = self.0.program_mut(name);
        let program: &mut SchedClassifier = program
            .and_then(|program| program.try_into().ok())
            .ok_or(LoadError::NoProgram(name))?;
        loaded(program.load())?;
        Ok(program)
    }
}

fn loaded(result: Result<(), ProgramError>) -> Result<(), LoadError> {
    match result {
        Ok(()) | Err(ProgramError::AlreadyLoaded) => Ok(()),
        Err(error) => Err(LoadError::Program(Box::new(error))),
    }
}

/// Makes a directory on a BPF file system.
pub(super) fn make_dir(dir: &Path) -> Result<(), LoadError> {
    if let Err(source) = fs::create_dir_all(dir) {
        return Err(LoadError::Directory {
            dir: dir.display().to_string(),
            source,
        });
    }
    if bpffs::holds(dir) {
        return Ok(());
    }
    // What was just made is not wanted on another file system.
    let _ = fs::remove_dir(dir);
    Err(LoadError::NoBpffs {
        dir: dir.display().to_string(),
        mount_point: "/sys/fs/bpf".to_owned(),
    })
}
