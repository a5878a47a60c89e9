//! The programs that make a packet new before each run.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result};
use aya::{
    Ebpf, Pod,
    maps::{Array, MapData, ProgramArray},
    programs::{TestRun as _, TestRunOptions, Xdp},
};
use lb_common::abi::{
    address::Addr4,
    flow::{FlowKey, Ports},
};
use rustix::time::{ClockId, clock_gettime};

use crate::yardstick;

/// What is done to a packet before each run of the program under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Front {
    /// Nothing: the program changes nothing that it reads.
    None,
    /// The hop that was spent is given back.
    Hops,
    /// As [`Self::Hops`], and an outer header is taken away.
    Tunnel,
    /// What nat wrote is written back.
    Nat,
    /// As [`Self::Tunnel`]; and it becomes a packet of the next flow of so many.
    Rotate { flows: u32 },
    /// As [`Self::Nat`]; and it becomes a packet of the next flow of so many.
    RotateNat { flows: u32 },
}

impl Front {
    /// How many flows there are in rotation, if there are.
    pub(crate) const fn flows(self) -> Option<u32> {
        match self {
            Self::None | Self::Hops | Self::Tunnel | Self::Nat => None,
            Self::Rotate { flows } | Self::RotateNat { flows } => Some(flows),
        }
    }
}

/// The flow number `n` of those in rotation: the rule of
/// `lb-ebpf/src/bench/packet.rs`.
pub(crate) fn rotated(n: u32, destination: Addr4, port: u16) -> FlowKey<Addr4> {
    FlowKey {
        source: Addr4((0x0B00_0000 + (n >> 8)).to_be()),
        destination,
        ports: Ports::new(0x8000 | (n & 0xFF) as u16, port),
        protocol: 6,
    }
}

/// The packet that a front program brings back; as in `lb-ebpf/src/bench`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Original {
    head: [u8; 124],
    len: u32,
}
// SAFETY: repr(C), bytes and a number behind a multiple of its size: no padding.
unsafe impl Pod for Original {}

/// A program with its packet, ready to be run again and again.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) program: &'a Xdp,
    pub(crate) front: Front,
    pub(crate) frame: &'a [u8],
}

pub(crate) struct Fronts {
    ebpf: Ebpf,
    /// The next flow, by how many there are in rotation.
    next: BTreeMap<u32, u32>,
}

impl Fronts {
    pub(crate) fn load() -> Result<Self> {
        let ebpf = yardstick::object(1, 1)?;
        Ok(Self {
            ebpf,
            next: BTreeMap::new(),
        })
    }

    fn array<T: Pod>(&mut self, name: &str) -> Result<Array<&mut MapData, T>> {
        let map = self.ebpf.map_mut(name);
        Ok(map.with_context(|| format!("no map {name}"))?.try_into()?)
    }

    /// Sets the front program up, and gives the program to run.
    pub(crate) fn before<'a>(&'a mut self, job: Job<'a>, repeat: u32) -> Result<&'a Xdp> {
        let name = match job.front {
            Front::None => return Ok(job.program),
            Front::Hops => "restore_hops",
            Front::Tunnel => "restore_tunnel",
            Front::Nat => "restore_nat",
            Front::Rotate { flows } => {
                self.rotate(flows, repeat)?;
                "rotate"
            }
            Front::RotateNat { flows } => {
                self.rotate(flows, repeat)?;
                "rotate_nat"
            }
        };
        let mut original = Original {
            head: [0; 124],
            len: job.frame.len() as u32,
        };
        let head = job.frame.len().min(original.head.len());
        original.head[..head].copy_from_slice(&job.frame[..head]);
        self.array("ORIGINAL")?.set(0, original, 0)?;
        let slot = self
            .ebpf
            .map_mut("UNDER_TEST")
            .context("no map UNDER_TEST")?;
        ProgramArray::try_from(slot)?.set(0, job.program.fd()?, 0)?;
        yardstick::program(&self.ebpf, name)
    }

    /// Says which flow is the next of so many, before so many runs.
    fn rotate(&mut self, flows: u32, repeat: u32) -> Result<()> {
        let after = self.next.entry(flows).or_default();
        let next = *after;
        *after = ((u64::from(next) + u64::from(repeat)) % u64::from(flows)) as u32;
        self.array::<[u32; 2]>("ROTATION")?
            .set(0, [next, flows], 0)?;
        Ok(())
    }

    /// Runs it and gives the last verdict, and what the packet had become then.
    pub(crate) fn run(&mut self, job: Job<'_>, repeat: u32) -> Result<(u32, Vec<u8>)> {
        let program = self.before(job, repeat)?;
        let mut out = vec![0; job.frame.len() + 256];
        let mut options = TestRunOptions::new();
        options.data_in = Some(job.frame);
        options.data_out = Some(&mut out);
        options.repeat = repeat;
        let result = program.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        Ok((result.return_value, out))
    }

    /// Runs it, and gives the last action and how much CPU time that took. What else runs on
    /// this CPU meanwhile is not in it.
    pub(crate) fn time(&mut self, job: Job<'_>, repeat: u32) -> Result<(u32, Duration)> {
        let program = self.before(job, repeat)?;
        let mut options = TestRunOptions::new();
        options.data_in = Some(job.frame);
        options.repeat = repeat;
        let begun = cpu_time()?;
        let result = program.test_run(options)?;
        Ok((result.return_value, cpu_time()? - begun))
    }
}

/// The CPU time of this thread so far.
fn cpu_time() -> Result<Duration> {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(now).context("a time before the thread began")
}
