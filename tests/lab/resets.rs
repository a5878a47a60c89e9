//! Counts the RSTs of flows that are none, where they leave the balancer: a million
//! of them would keep the lab's bridges and hosts busy for longer than the balancer.

use std::{env, fs, path::Path};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf,
    maps::PerCpuArray,
    programs::{Xdp, xdp::XdpMode},
};

use super::site::Site;

/// The counting program; it goes when this is dropped.
#[derive(Debug)]
pub struct Resets(Ebpf);

impl Resets {
    /// Counts, and takes away, what the balancer sends into the clients' LAN of the
    /// flows of clients in 11.0.0.0/8. The rest passes.
    pub(super) fn count(site: &Site) -> Result<Self> {
        let folder = env::var_os("EBB_BPF_DIR")
            .context("EBB_BPF_DIR does not name the built programs; `cargo xtask test` sets it")?;
        let path = Path::new(&folder).join("ebb-bench");
        let object = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut ebpf = Ebpf::load(&object)?;
        let program: &mut Xdp = ebpf
            .program_mut("resets")
            .context("no program `resets`")?
            .try_into()?;
        program.load()?;
        let port = site.balancers_port();
        site.switch
            .enter(|| program.attach(&port, XdpMode::Driver))?
            .with_context(|| format!("cannot attach to {port}"))?;
        Ok(Self(ebpf))
    }

    /// How many were sent so far, as from clients and to clients.
    pub fn counted(&self) -> Result<[u64; 2]> {
        let map = self.0.map("RESETS").context("no map RESETS")?;
        let counters: PerCpuArray<_, u64> = map.try_into()?;
        let of = |way| anyhow::Ok(counters.get(&way, 0)?.iter().sum());
        Ok([of(0)?, of(1)?])
    }
}
