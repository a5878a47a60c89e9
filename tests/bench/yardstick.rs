//! What ebb is measured against: the bench's own programs of
//! `lb-ebpf/src/bench`.

use std::{env, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{HashMap, MapData, PerCpuArray},
    programs::Xdp,
};
use lb_common::abi::{address::Addr4, flow::FlowKey};

/// An object as it was built, by the name of its binary in `lb-ebpf`.
pub(crate) fn built(name: &str) -> Result<Vec<u8>> {
    let folder = env::var_os("EBB_BPF_DIR")
        .map(PathBuf::from)
        .context("EBB_BPF_DIR is not set: run `cargo xtask bench`")?;
    let path = folder.join(name);
    fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// Loads them all, with room for so many flows of the baseline, and of the forerunner.
pub(crate) fn object(baseline: u32, forerunner: u32) -> Result<Ebpf> {
    let mut ebpf = EbpfLoader::new()
        .map_max_entries("BASELINE", baseline)
        .map_max_entries("FORERUNNER_FLOWS", forerunner)
        .load(&built("ebb-bench")?)
        .context("cannot load the bench's programs")?;
    for (name, program) in ebpf.programs_mut() {
        let program: &mut Xdp = program.try_into()?;
        program
            .load()
            .with_context(|| format!("the verifier refuses the program {name}"))?;
    }
    Ok(ebpf)
}

/// One of the programs.
pub(crate) fn program<'a>(ebpf: &'a Ebpf, name: &str) -> Result<&'a Xdp> {
    let program = ebpf.program(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

/// As [`program`], to attach it.
pub(crate) fn program_mut<'a>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut Xdp> {
    let program = ebpf.program_mut(name);
    Ok(program
        .with_context(|| format!("no program {name}"))?
        .try_into()?)
}

/// One of the counters, over all CPUs.
pub(crate) fn counter(ebpf: &Ebpf, name: &str) -> Result<u64> {
    let map = ebpf.map(name).with_context(|| format!("no map {name}"))?;
    let counter: PerCpuArray<_, u64> = map.try_into()?;
    Ok(counter.get(&0, 0)?.iter().sum())
}

/// The empty program and the baseline.
pub(crate) struct Yardstick {
    ebpf: Ebpf,
}

impl Yardstick {
    /// With a table of `size`, and these flows in it.
    pub(crate) fn load(size: u32, flows: impl Iterator<Item = FlowKey<Addr4>>) -> Result<Self> {
        let mut ebpf = object(size, 1)?;
        let map = ebpf.map_mut("BASELINE").context("no map BASELINE")?;
        let mut table: HashMap<&mut MapData, FlowKey<Addr4>, u64> = map.try_into()?;
        for key in flows {
            table.insert(key, 1, 0)?;
        }
        Ok(Self { ebpf })
    }

    pub(crate) fn empty(&self) -> Result<&Xdp> {
        program(&self.ebpf, "empty")
    }

    pub(crate) fn redirect(&self) -> Result<&Xdp> {
        program(&self.ebpf, "redirect")
    }

    pub(crate) fn baseline(&self) -> Result<&Xdp> {
        program(&self.ebpf, "baseline")
    }

    /// How many packets' flows the baseline did not find.
    pub(crate) fn missed(&self) -> Result<u64> {
        counter(&self.ebpf, "MISSED")
    }
}
